/* A fake libnvidia-ml.so.1 with the functions that the agent calls. Its answers come from the environment. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? strtol(value, NULL, 0) : otherwise;
}

static int lost(void) { return number("FAKE_LOST", 0) ? GPU_IS_LOST : SUCCESS; }

/* Like a driver that has lost a GPU: the call returns late, or never. */
static void hang(void) { sleep((unsigned int)number("FAKE_HANG", 0)); }

int nvmlInitWithFlags(unsigned int flags) { (void)flags; hang(); return (int)number("FAKE_INIT", SUCCESS); }
int nvmlInit_v2(void) { return (int)number("FAKE_INIT", SUCCESS); }
int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == NOT_SUPPORTED ? "Not Supported" : "Driver Not Loaded";
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    snprintf(version, length, "580.65.06");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) { *count = (unsigned int)number("FAKE_GPUS", 1); return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = (void *)(size_t)(index + 1);
    return lost();
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    (void)device;
    snprintf(name, length, "Tesla T4");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    (void)device;
    memory->total = 16ull << 30;
    memory->used = 3ull << 30;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(void *device, int kind, int counter, unsigned long long *count) {
    (void)device;
    if (number("FAKE_ECC", -1) < 0) return NOT_SUPPORTED;
    /* Uncorrected ones since the driver was loaded; the others are plenty, and no trouble. */
    *count = kind == 1 && counter == 0 ? (unsigned long long)number("FAKE_ECC", 0) : 1000;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    (void)device;
    *reasons = (unsigned long long)number("FAKE_SLOWED", 0);
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(void *device, int *mode) {
    (void)device;
    if (number("FAKE_PERSISTENCE", -1) < 0) return NOT_SUPPORTED;
    *mode = (int)number("FAKE_PERSISTENCE", 0);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) {
    rates->gpu = 40 * (unsigned int)(size_t)device;
    rates->memory = 1;
    return SUCCESS;
}
