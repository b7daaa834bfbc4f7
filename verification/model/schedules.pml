/* A schedule: invocations that start its runs, the ledger of what they reserve, the forecast after a retraining.
 * Checked exhaustively by spin. README.md maps the model to the code.
 *
 * Three invocations come at any time and pause between any two steps for any time; two of them are one trigger,
 * delivered twice. One may crash once, anywhere, and is then delivered again. The data change once, runs
 * end well or badly, and the month has room for one run or for two. What an instance, its watchdog and its launchers do
 * is in protocol.pml and launchers.pml: here a run in the lane that nobody has claimed gets an instance at some time.
 *
 * Any define is a mutant: a schedule without one of its rules.
 */

#define NONE   0
#define RUNS   4

#define SUCCEEDED 1
#define FAILED    2

byte data = 1;
byte cap = 2;                   /* how many runs the month has room for */
byte lock = NONE;               /* the run that holds the lane */

/* By run. */
byte trains[RUNS] = NONE;       /* the data in its order, which is written once */
bit  claimed[RUNS];             /* an instance has claimed it */
byte final[RUNS] = NONE;        /* its final record, written before its lane is free */
bit  forecast[RUNS];            /* the forecast after it was started */
bit  followed[RUNS];            /* the register that says so */
bit  fired[RUNS];               /* by trigger: whether it has started a run */

/* The ledger: the runs with a reservation that counts. It lasts for minutes, as long as no invocation does. */
bit  reserved[RUNS];
bit  changed[3];                /* by invocation: whether the ledger was written since its look */

#define trigger_of(r) (r == 3 -> 1 : r)

/* An instance is started. */
inline begin(b) {
	assert(!claimed[b] && !fired[trigger_of(b)]);                             /* DOUBLE_RUN */
	assert(!(final[1] == SUCCEEDED && trains[1] == trains[b]) && !(final[2] == SUCCEEDED && trains[2] == trains[b]) && !(final[3] == SUCCEEDED && trains[3] == trains[b])); /* UNCHANGED_DATA_TRAINED */
	assert(claimed[1] + claimed[2] + claimed[3] < cap);                       /* OVER_CAP */
	claimed[b] = 1; fired[trigger_of(b)] = 1
}

#define IDLE    0
#define LOOK    1
#define LANE    2
#define RECORDS 3
#define JUDGE   4
#define ORDER   5
#define RESERVE 6
#define TAKE    7
#define CHECK   8
#define START   9

#define counts(r) (ended[r] || fresh[r] || read_lock == r)

inline read_records() {
	mine = (trains[id] != NONE -> trains[id] : data);     /* of the order if there is one, else what is there now */
	ended[1] = final[1] != NONE; ended[2] = final[2] != NONE; ended[3] = final[3] != NONE;
#ifdef DATA_DONE_WHEN_RESERVED
	known = (fresh[1] && trains[1] == mine) || (fresh[2] && trains[2] == mine) || (fresh[3] && trains[3] == mine)
#else
	known = (final[1] == SUCCEEDED && trains[1] == mine) || (final[2] == SUCCEEDED && trains[2] == mine) ||
		(final[3] == SUCCEEDED && trains[3] == mine)
#endif
}

inline forget() {
	read_lock = NONE; mine = NONE; known = 0; ended[1] = 0; ended[2] = 0; ended[3] = 0; fresh[1] = 0; fresh[2] = 0; fresh[3] = 0
}

proctype Invocation(byte me; byte id) {
	byte step = LOOK;
	byte read_lock, mine, ordered;
	bit  ended[RUNS], fresh[RUNS];
	bit  known, crashed;

end:
	do
	/* The ledger, the lane, the final records, in this order: what neither counts nor holds the lane has its record. */
	:: d_step { step == LOOK && final[id] != NONE -> step = IDLE }
	:: d_step { step == LOOK && final[id] == NONE -> changed[me] = 0;
		fresh[1] = reserved[1]; fresh[2] = reserved[2]; fresh[3] = reserved[3]; step = LANE }
	:: d_step { step == LANE ->
#ifdef RECORDS_BEFORE_LANE
		read_records();
#else
		read_lock = lock;
#endif
		step = RECORDS }
	:: d_step { step == RECORDS ->
#ifdef RECORDS_BEFORE_LANE
		read_lock = lock;
#else
		read_records();
#endif
		step = JUDGE }

	:: d_step { step == JUDGE ->
		if
		:: fresh[id] -> step = TAKE                                           /* another delivery is at work on this run */
		:: !fresh[id] && known ->
			/* Nothing is to be done: then somebody has, or it will never be. */
			assert((final[1] == SUCCEEDED && trains[1] == mine) || (final[2] == SUCCEEDED && trains[2] == mine) || (final[3] == SUCCEEDED && trains[3] == mine)); /* LOST_RUN */
			step = IDLE
#ifndef TWO_AT_WORK
		:: !fresh[id] && !known && (fresh[1] || fresh[2] || fresh[3]) -> step = IDLE   /* the lane is about to be busy */
#endif
		:: !fresh[id] && !known && read_lock != NONE -> step = IDLE               /* the lane is busy */
		:: else ->
			if
			:: counts(1) + counts(2) + counts(3) >= cap -> step = IDLE            /* the month is spent */
			:: else -> step = ORDER; ordered = mine
			fi
		fi;
		forget() }

	:: d_step { step == ORDER ->
		if
		:: trains[id] == NONE -> trains[id] = ordered; step = RESERVE
		:: trains[id] == ordered -> step = RESERVE
		:: else -> step = LOOK                                                    /* another delivery was faster */
		fi;
		ordered = NONE }

	:: d_step { step == RESERVE ->
		if
#ifdef UNCONDITIONAL_RESERVATION
		:: true ->
#else
		:: !changed[me] ->
#endif
			reserved[id] = 1; changed[0] = 1; changed[1] = 1; changed[2] = 1; step = TAKE
#ifndef UNCONDITIONAL_RESERVATION
		:: else -> step = LOOK
#endif
		fi }

#ifndef TAKE_AFTER_RESERVATION
	:: d_step { step == TAKE && !reserved[id] -> step = IDLE }                  /* too late: it counts no more */
	:: d_step { step == TAKE && reserved[id] && lock != NONE -> step = IDLE }   /* its own already, or another one's */
	:: d_step { step == TAKE && reserved[id] && lock == NONE -> lock = id; step = CHECK }
#else
	:: d_step { step == TAKE && lock != NONE -> step = IDLE }
	:: d_step { step == TAKE && lock == NONE -> lock = id; step = CHECK }
#endif

	/* The lane may have been free because this very run is over. The watchdog concludes it again. */
#ifndef CLAIM_NOT_READ
	:: d_step { step == CHECK && claimed[id] -> step = IDLE }
	:: d_step { step == CHECK && !claimed[id] -> step = START }
	:: d_step { step == START && lock == id && !claimed[id] -> begin(id); step = IDLE }
	:: d_step { step == START && !(lock == id && !claimed[id]) -> step = IDLE }
#else
	:: d_step { step == CHECK && lock == id -> begin(id); step = IDLE }
	:: d_step { step == CHECK && lock != id -> step = IDLE }
#endif

	:: d_step { step != IDLE && me == 0 && !crashed -> crashed = 1; forget(); ordered = NONE; step = LOOK }
	od
}

/* Time: a reservation counts no more. */
active proctype Time() {
end:
	do
	:: d_step { reserved[1] -> reserved[1] = 0 }
	:: d_step { reserved[2] -> reserved[2] = 0 }
	:: d_step { reserved[3] -> reserved[3] = 0 }
	od
}

/* The watchdog: starts what waits for its instance, concludes what has ended, asks for what follows. */
active proctype Watchdog() {
end:
	do
	:: d_step { lock != NONE && !claimed[lock] -> begin(lock) }
	:: d_step { lock != NONE && claimed[lock] && final[lock] == NONE -> final[lock] = SUCCEEDED }
	:: d_step { lock != NONE && claimed[lock] && final[lock] == NONE -> final[lock] = FAILED }
#ifdef RELEASE_BEFORE_FOLLOW
	:: d_step { lock != NONE && final[lock] != NONE ->
#else
	:: d_step { lock != NONE && (final[lock] == FAILED || (final[lock] == SUCCEEDED && followed[lock])) ->
#endif
		assert(final[lock] == FAILED || forecast[lock]);                        /* LOST_FORECAST */
		lock = NONE }
	od
}

/* The launcher after a retraining: asked any number of times, it may crash between any two steps. */
active proctype Follow() {
	byte after = NONE;

end:
	do
	:: d_step { after == NONE && lock != NONE && final[lock] == SUCCEEDED && !followed[lock] ->
		after = lock }
#ifdef TELL_BEFORE_FORECAST
	:: d_step { after != NONE && !followed[after] -> followed[after] = 1 }
	:: d_step { after != NONE && followed[after] -> forecast[after] = 1; after = NONE }
#else
	:: d_step { after != NONE && !forecast[after] -> forecast[after] = 1 }
	:: d_step { after != NONE && forecast[after] -> followed[after] = 1; after = NONE }
#endif
	:: d_step { after != NONE -> after = NONE }
	od
}

active proctype Data() {
	data = 2
}

init {
	if
	:: cap = 1
	:: skip
	fi;
	atomic {
		run Invocation(0, 1);
#ifdef ID_NOT_DERIVED
		run Invocation(1, 3);
#else
		run Invocation(1, 1);
#endif
		run Invocation(2, 2)
	}
}
