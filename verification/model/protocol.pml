/* The run protocol of one lane, checked exhaustively by spin. README.md maps it to the code.
 *
 * Two launchers, two instances with their agents, EC2, two concurrent watchdogs. The second launcher starts its own run,
 * or another attempt of the first run after the watchdog has resumed it. Any process may pause between any two steps for
 * any time. A launcher that pauses forever has crashed. A watchdog may also crash between any two steps, and is called
 * again. Any instance may turn hostile at any moment: then it does whatever its role allows.
 *
 * No instance writes the lock. An agent claims its attempt by creating the attempt's claim, a register that is written
 * once. The watchdog creates the same register as void before it ends an attempt that
 * nobody has claimed. An agent's outcome is such a register too, which the watchdog takes before it gives a verdict of
 * its own on an attempt that was claimed. The watchdog copies claim and outcome into the lock.
 *
 * Time is an adversary. Boot limit, lease and grace have expired whenever that is possible: the watchdog always acts on
 * them, and interleaving covers how late. There are two assumptions: an agent that sends heartbeats has a lease, and
 * EC2's list lags by less than the time between the two looks at an absence.
 *
 * There are no version numbers. `known` says which processes have read the lock since its last write; a conditional
 * write succeeds exactly for those. That is equivalent to versions that never recur, and finite. For the same reason a
 * read followed by a conditional write is one step: if the write succeeds, nothing happened to the lock in between.
 *
 * Unlike the code, the watchdog here does not read the lock again before it terminates: the order of the reads and the
 * conditional verdict must be sufficient. Reading the lock is not needed to claim either: an agent that reads it first
 * only learns earlier that it has come too late.
 *
 *   (no define)  the whole model, for the assertions
 *   -DLIVENESS   a smaller model for the property `settles` under weak fairness: one watchdog, which crashes or sees a
 *                lagging list at most twice in all; no phases. Under fairness nothing pauses forever, so launchers and
 *                agents may also stop for good.
 *
 * Any other define is a mutant: the protocol without one of its rules.
 */

/* An instance in EC2. Run i, which may be another attempt of run 0, has instance i: an attempt's client token allows
 * only one. */
#define NOT_LAUNCHED  0
#define RUNNING       1   /* or pending */
#define SHUTTING_DOWN 2   /* its agent may still run */
#define TERMINATED    3   /* listed as such, or no longer listed */
#define FOREIGN       2   /* the id of a foreign instance */
#define NOBODY        3

/* An agent. */
#define OFF       0
#define BOOTING   1
#define HOSTILE   2   /* what runs on the instance is no agent of ours, or no longer */
#define WORKING   3   /* sends heartbeats, unless it freezes for a while */
#define DONE      4   /* has reported its outcome, or is fenced: about to shut down */
#define STUCK     5   /* has worked, does nothing any more, and its instance is up */

/* A claim: the id of an instance, or one of these. */
#define UNCLAIMED 3
#define VOID      4

/* An outcome, by its author. */
#define AGENT     1
#define WATCHDOG  2

/* A suspicion that the run has no instance, by its age. */
#define NONE      0
#define SEEN      1   /* the first look */
#define AGED      2   /* long enough ago for a second look */

byte est[3];
byte agent[3];

byte claim[2] = UNCLAIMED;   /* by run: a register that is written once */
byte outcome[2];             /* by run: a register that is written once, how its attempt ended */

byte lane = NOBODY;     /* the lock: the run that holds the lane */
bit  claimed;           /* its claim is copied here */
bit  verdict;
byte suspect;
byte known;             /* a bit per process: it has read the current version */

bit  late[2];           /* was not up yet at the first look at its absence, or when its run ended */
bit  aged[2];           /* when watchdog p looked at the clock, the first look was AGED */
bit  recorded[2];          /* run i was recorded. Which launcher comes first makes no difference: it is launcher 0 */
bit  resumed;           /* run 1 is an attempt of run 0 */

#define LAUNCHER(i)   (1 << (i))
#define WATCH(p)      (4 << (p))

#define up(i)         (est[i] == RUNNING || est[i] == SHUTTING_DOWN)
#define has_worked(i) (agent[i] >= WORKING)   /* its agent began to work, and its instance is up */

/* --- the properties --------------------------------------------------------------------------------------------- */

/* At most one agent works: if the other ever did, its instance is gone. And it works only for a run that has not been
 * ended. */
inline start_work(i) {
	assert(!has_worked(1 - i));                                 /* ONE_AGENT */
	assert(lane == i && !verdict);                              /* WORK_AFTER_END */
	agent[i] = WORKING
}

/* What was written about a run that has ended means nothing any more: merge equivalent states. */
inline forget(r) {
	claim[r] = (claim[r] == UNCLAIMED -> UNCLAIMED : VOID);
	outcome[r] = WATCHDOG
}

/* The lock is released only when no instance of its run is up. One exception: an instance started by a launcher that
 * paused until after the watchdog's first look. It has not claimed, and never can. */
inline release_lock() {
	assert(!(up(lane) && (has_worked(lane) || !late[lane])));   /* RELEASED_ALIVE */
	forget(lane);
	lane = NOBODY; claimed = 0; verdict = 0; known = 0; forget_suspect()
}

/* No foreign instance is terminated, and none whose agent works and has not reported an outcome. An agent gets a verdict
 * only if its lease was seen to have expired. (Whoever can write the outcome of another run can end that run: a hostile
 * instance of the same environment.) */
#define healthy(id) (agent[id] == WORKING && est[id] == RUNNING && !outcome[id])

inline give_verdict(lease_is_out) {
	assert(lease_is_out || !healthy(held));                     /* VERDICT_ON_HEALTHY */
	assert(claim[held] != held || outcome[held] != AGENT);      /* OUTCOME_CONTRADICTED */
#ifndef VERDICT_WITHOUT_OUTCOME
	outcome[held] = (claim[held] == held -> WATCHDOG : outcome[held]);
#endif
	lane = held; verdict = 1; forget_suspect(); known = WATCH(p)
}

inline terminate(id) {
	assert(id != FOREIGN);                                      /* FOREIGN_TERMINATED */
	assert(!healthy(id) || (lane == id && verdict));            /* HEALTHY_TERMINATED */
	est[id] = (est[id] == RUNNING -> SHUTTING_DOWN : est[id])
}

#ifdef LIVENESS
#define attended(i) (agent[i] == WORKING && lane == (i) && claim[i] == (i))
#define at_rest   ((!up(0) || attended(0)) && (!up(1) || attended(1)) && (lane == NOBODY || attended(0) || attended(1)))

/* Again and again: no instance is up and no lane is held, except by a working agent. */
ltl settles { []<> at_rest }
#endif

/* --- time ---------------------------------------------------------------------------------- */

inline forget_suspect() {
	suspect = NONE; aged[0] = 0; aged[1] = 0
}

active proctype Time() {
end:
	do
	:: d_step { suspect == SEEN -> suspect = AGED }
	od
}

/* --- EC2 -------------------------------------------------------------------------------------------------------- */

inline run_instance(i) {
	if
	:: est[i] == NOT_LAUNCHED ->
		est[i] = RUNNING; agent[i] = BOOTING; late[i] = (lane != i || suspect != NONE || verdict)
	:: else                                                     /* a repeated call starts nothing, by the client token */
	fi
}

inline create_lock(i) {
	lane = i; known = LAUNCHER(i); recorded[i] = 1
}

proctype Ec2(bit i) {
end:
	do
#ifndef LIVENESS
	:: d_step { est[i] == RUNNING -> est[i] = SHUTTING_DOWN }                    /* reclaimed, or terminated by a user */
#endif
	:: d_step { est[i] == SHUTTING_DOWN -> est[i] = TERMINATED; agent[i] = OFF; late[i] = 0 }
	od
}

/* --- a launcher ------------------------------------------------------------------------------------------------- */

/* A launcher that pauses forever has crashed. One that is OVER may still have to commit. */
#define START     0
#define LAUNCH    1
#define OVER      2

#define may_create(i) (lane == NOBODY && !recorded[i] && (i == 0 || recorded[0]))

proctype Launcher(bit i) {
	byte step;

end:
	do
#ifdef LAUNCH_BEFORE_RECORD
	:: d_step { step == START -> run_instance(i); step = LAUNCH }
	:: d_step { step == LAUNCH && may_create(i) -> create_lock(i); step = OVER }
#else
	:: d_step { step == START && may_create(i) -> create_lock(i); step = LAUNCH }
	:: d_step { step == START && i == 1 && resumed && lane == 1 && !claimed && !verdict ->
		known = known | LAUNCHER(i); step = LAUNCH }
	:: d_step { step == LAUNCH -> run_instance(i) }             /* the response is lost, the call repeated */
	:: d_step { step == LAUNCH -> run_instance(i); step = OVER }
	:: d_step { step == LAUNCH && est[i] == NOT_LAUNCHED && (known & LAUNCHER(i)) ->
		release_lock(); step = OVER }                           /* no capacity: nothing was started that could claim */
#endif
#ifdef UNCONDITIONAL_COMMIT
	:: d_step { step == OVER -> lane = i; claimed = 0; verdict = 0; forget_suspect(); known = 0; step = 3 }
#else
	:: d_step { step == OVER && (known & LAUNCHER(i)) -> known = 0; step = 3 }   /* the instance's id */
#endif
#ifdef LIVENESS
	:: d_step { step < OVER -> step = OVER; known = known & ~LAUNCHER(i) }
#endif
	od
}

/* --- an agent on its instance ----------------------------------------------------------------------------------- */

#define mine(i)      (lane == (i) && !verdict)

#ifdef ANY_ATTEMPT
#define asked(i)     ((i) == 0 && resumed && lane == 1 -> 1 : (i))   /* the attempt that the lock names */
#else
#define asked(i)     (i)
#endif

/* To the watchdog every claim is alike that is not of the attempt's own instance, void or not; but not to these mutants. */
#if defined(IDS_FROM_CLAIM) || defined(WAIT_FOR_CLAIMANT)
#define not_own(r)   FOREIGN
#elif defined(ANY_CLAIMANT)
#define not_own(r)   (1 - r)
#else
#define not_own(r)   VOID
#endif

inline forge(r) {
	if
	:: claim[r] = r
	:: claim[r] = not_own(r)
	fi
}

proctype Agent(bit i) {
end:
	do
#if defined(NO_CLAIM)
	:: d_step { agent[i] == BOOTING -> start_work(i) }
#elif defined(WORK_BEFORE_CLAIM)
	:: d_step { agent[i] == BOOTING && mine(i) -> start_work(i) }
	:: d_step { agent[i] == WORKING && claim[i] == UNCLAIMED -> claim[i] = i }
	:: d_step { agent[i] == WORKING && claim[i] != UNCLAIMED && claim[i] != i -> agent[i] = DONE }
#elif defined(UNCONDITIONAL_CLAIM)
	:: d_step { agent[i] == BOOTING -> claim[i] = i; start_work(i) }
#else
	:: d_step { agent[i] == BOOTING && claim[asked(i)] == UNCLAIMED -> claim[asked(i)] = i; start_work(i) }
#endif
#ifndef NO_CLAIM
	:: d_step { agent[i] == BOOTING -> agent[i] = OFF; est[i] = SHUTTING_DOWN }   /* not its run, void, or claimed */
	:: d_step { agent[i] == WORKING && !mine(i) -> agent[i] = DONE }              /* fenced, or ended by the watchdog */
#endif
	:: d_step { agent[i] == WORKING && !outcome[i] ->
		assert(mine(i));                                                   /* OUTCOME_CONTRADICTED */
		agent[i] = DONE; outcome[i] = AGENT }
	:: d_step { agent[i] == WORKING && outcome[i] -> agent[i] = DONE }            /* ended by the watchdog */
	:: d_step { agent[i] == DONE && est[i] == RUNNING -> est[i] = SHUTTING_DOWN }
#ifdef LIVENESS
	:: d_step { agent[i] == BOOTING -> agent[i] = OFF }                    /* it never boots */
	:: d_step { agent[i] == WORKING || agent[i] == DONE -> agent[i] = STUCK }
#endif
	/* A hostile instance claims, for its own attempt or another, in any name, or voids; reports any outcome of any run;
	 * sends heartbeats forever; ignores the lock; never shuts down. */
	:: d_step { agent[i] == BOOTING || agent[i] == WORKING -> agent[i] = HOSTILE }
	:: atomic { agent[i] == HOSTILE && claim[0] == UNCLAIMED -> forge(0) }
	:: atomic { agent[i] == HOSTILE && claim[1] == UNCLAIMED -> forge(1) }
	:: d_step { agent[i] == HOSTILE && !outcome[0] -> outcome[0] = AGENT }
	:: d_step { agent[i] == HOSTILE && !outcome[1] -> outcome[1] = AGENT }
	:: d_step { agent[i] == HOSTILE -> skip }
	od
}

/* --- the watchdog ----------------------------------------------------------------------------------------------- */

/* The next step. */
#define IDLE           0
#define READ_LOCK      1   /* in mutants: the lock is read in a step of its own */
#define DECIDE         2   /* EC2 is listed: read lock, claim and outcome */
#define READ_HEARTBEAT 3   /* read the heartbeat: the rest depends on it */
#define END            4   /* give the run a verdict (in a mutant; else one step with DECIDE) */
#define EXPIRE         5   /* give the run a verdict: its lease has expired, or a deadline has passed */
#define SUSPECT        6   /* record the first look: the run has no instance */
#define TERMINATE      7   /* the instances in `ending` */
#define RELEASE        8   /* the lock, or hand it to the next attempt */

/* An instance's status in EC2's list. */
#define ABSENT         0
#define UP             1
#define STOPPING       2
#define ENDED          3

#ifdef LIVENESS
byte faults = 2;
#define MISSED(i) missed(i) && faults > 0 -> faults--
#define CRASHES   faults > 0 -> faults--
#else
#define MISSED(i) missed(i)
#define CRASHES   true
#endif

#ifdef STAMP_BEFORE_CLAIM
#define LISTED    READ_LOCK
#else
#define LISTED    DECIDE
#endif

#define status_of(i) \
	(est[i] == RUNNING -> UP : (est[i] == SHUTTING_DOWN -> STOPPING : (est[i] == TERMINATED -> ENDED : ABSENT)))

/* The list may lag, except for an instance that was up at a first look that is AGED. It drops terminated ones. */
#define missed(i) (up(i) && !(suspect == AGED && !late[i]))
#define lost(i)   (est[i] == TERMINATED)

#ifdef STATE_BEFORE_LIST
#define r_lane     copy[0]
#define r_verdict  copy[1]
#else
#define r_lane     lane
#define r_verdict  verdict
#endif

#ifdef CLOCK_AFTER_LIST
#define long_ago   (suspect == AGED)
#else
#define long_ago   (suspect == AGED && aged[p])
#endif

#ifdef IDS_FROM_CLAIM
#define target     (claim[held] <= FOREIGN -> claim[held] : held)
#else
#define target     held
#endif

/* Nobody is waited for who is not the attempt's instance. */
#if defined(WAIT_FOR_CLAIMANT)
#define waits_for_claimant (claim[held] <= FOREIGN)
#elif defined(VOID_IS_NO_END)
#define waits_for_claimant (claim[held] == VOID)
#else
#define waits_for_claimant 0
#endif

/* In the smaller model a hostile instance sends heartbeats until its deadline has passed, which is at once. */
#if defined(LIVENESS) && !defined(NO_DEADLINE)
#define is_alive(i) (agent[i] == WORKING)
#else
#define is_alive(i) (agent[i] == WORKING || agent[i] == HOSTILE)
#endif

#define unchanged    (known & WATCH(p))

/* The watchdog has read that nobody has claimed, then the instance claims, then the watchdog overwrites the claim. */
#ifdef UNCONDITIONAL_VOID
#define overlooked (!claimed && claim[held] == held)
#else
#define overlooked 0
#endif

/* Reset what is no longer needed, to merge equivalent states. */
inline stop() {
	listed[0] = ABSENT; listed[1] = ABSENT; ending[0] = 0; ending[1] = 0; ending[FOREIGN] = 0;
	todo = IDLE; held = NOBODY; was_up = 0; aged[p] = 0; known = known & ~WATCH(p)
}

inline proceed() {
	if
	:: ending[0] || ending[1] || ending[FOREIGN] -> todo = TERMINATE; held = NOBODY; was_up = 0; known = known & ~WATCH(p)
	:: else -> stop()
	fi
}

/* An instance without a record. */
inline decide_orphan(i) {
	if
#ifndef IGNORE_ORPHANS
	:: listed[i] == UP && r_lane != i -> ending[i] = 1
#endif
	:: else
	fi
}

/* The run that holds the lane, apart from its heartbeat. */
inline decide_run() {
	if
#ifdef ANY_CLAIMANT
	:: !r_verdict && claim[held] == 1 - held && listed[1 - held] == ENDED -> todo = RELEASE
#endif
	:: r_verdict -> decide_ended()
	:: !r_verdict && claim[held] == held && !overlooked -> decide_claimed()
	:: !r_verdict && (claim[held] != held || overlooked) -> decide_unclaimed()
	fi
}

inline look_at_absence(then) {
	if
#ifdef ONE_LOOK_AT_ABSENCE
	:: true -> todo = then
#else
	:: suspect == NONE -> todo = SUSPECT
	:: suspect != NONE && long_ago -> todo = then
	:: else
#endif
	fi
}

inline decide_ended() {
	if
#ifndef TERMINATE_ONCE
	:: listed[held] == UP -> ending[target] = 1                     /* still up after its verdict */
#endif
	:: listed[held] == ENDED -> todo = RELEASE
	:: listed[held] == ABSENT -> look_at_absence(RELEASE)
	:: else
	fi
}

/* Claim and outcome are copied into the lock in one write. A claim withdraws the suspicion of absence. */
inline decide_claimed() {
	if
	:: !claimed ->
		claimed = 1; late[held] = 0; known = WATCH(p);
#ifndef CLAIM_KEEPS_SUSPECT
		forget_suspect()
#endif
	:: else
	fi;
	if
	:: outcome[held] ->
		verdict = 1; forget_suspect(); known = WATCH(p); ending[target] = (listed[held] == UP);
#ifdef RELEASE_BY_OUTCOME
		todo = RELEASE
#endif
	:: !outcome[held] && listed[held] == UP -> todo = READ_HEARTBEAT
	:: !outcome[held] && listed[held] == ENDED -> todo = RELEASE
	:: !outcome[held] && listed[held] == ABSENT -> look_at_absence(RELEASE)
	:: !outcome[held] && listed[held] == STOPPING && suspect == NONE -> todo = SUSPECT
	:: else
	fi
}

/* Its instance has not claimed, or cannot, because somebody else has. */
inline decide_unclaimed() {
	if
#ifdef OUTCOME_OF_UNCLAIMED
	:: outcome[held] && claim[held] == UNCLAIMED -> give_verdict(0)
#endif
	:: waits_for_claimant
	:: !waits_for_claimant && listed[held] == UP ->                /* the boot took too long */
#ifndef VERDICT_WITHOUT_VOID
		void();
#endif
#ifdef UNCONDITIONAL_VERDICT
		todo = END
#else
		ending[target] = 1; give_verdict(0)
#endif
	:: !waits_for_claimant && listed[held] == ENDED -> todo = RELEASE
	:: !waits_for_claimant && listed[held] == ABSENT -> look_at_absence(RELEASE)
	:: !waits_for_claimant && listed[held] == STOPPING && suspect == NONE -> todo = SUSPECT
	:: else
	fi;
	if
#ifndef NEXT_WITHOUT_VOID
	:: todo == RELEASE -> void()
#endif
	:: else
	fi
}

/* Before it ends an attempt that nobody has claimed, the watchdog creates its claim as void. If the claim was created
 * since it was read, that fails, and the watchdog starts over. So a claim is read and voided in one step. */
inline void() {
	claim[held] = (claim[held] == UNCLAIMED || overlooked -> VOID : claim[held])
}

inline decide() {
	todo = IDLE;
	decide_orphan(0);
	decide_orphan(1);
	held = r_lane;
	if
	:: held != NOBODY -> decide_run()
	:: else
	fi;
	listed[0] = ABSENT; listed[1] = ABSENT; aged[p] = 0;
	/* A first look is dated now, when lock and claim have been read; in mutants, earlier. */
#if defined(STAMP_BEFORE_LIST) || defined(STAMP_BEFORE_CLAIM)
	was_up = (todo == SUSPECT -> (was_up >> held) & 1 : 0);
#else
	was_up = (todo == SUSPECT -> up(held) : 0);
#endif
	if
	:: todo == IDLE -> proceed()
	:: else
	fi
}

/* Before it gives a verdict on an attempt that was claimed, the watchdog creates its outcome. If there is one, it starts
 * over. */
#ifdef VERDICT_WITHOUT_OUTCOME
#define not_reported 1
#else
#define not_reported (claim[held] != held || !outcome[held])
#endif

/* The next attempt of the run. */
inline resume() {
	release_lock(); lane = 1; recorded[1] = 1; resumed = 1; stop()
}

#define gives_up (listed[lane] == UP || listed[lane] == ENDED || (listed[lane] == ABSENT && long_ago))

proctype Watchdog(bit p) {
	byte listed[2];
	bit ending[3];          /* instances to terminate */
	byte todo;
	byte held = NOBODY;   /* the run in question */
	byte was_up;           /* its instance was up at the first look, listed or not */
#ifdef STATE_BEFORE_LIST
	byte copy[2];
#endif

	do
	/* First EC2's list. The clock is read before it: ages are those of the moment when the list was requested. */
#ifdef STATE_BEFORE_LIST
	:: d_step { todo == IDLE -> copy[0] = lane; copy[1] = verdict; known = known | WATCH(p); todo = DECIDE }
	:: atomic { todo == DECIDE ->
#else
	:: atomic { todo == IDLE -> todo = LISTED;
#endif
		d_step { aged[p] = (suspect == AGED); listed[0] = status_of(0); listed[1] = status_of(1) };
#ifdef STAMP_BEFORE_LIST
		was_up = up(0) + 2 * up(1);
#endif
		if
		:: true
		:: lost(0) -> listed[0] = ABSENT
		:: d_step { MISSED(0); listed[0] = ABSENT }
		fi;
		if
		:: true
		:: lost(1) -> listed[1] = ABSENT
		:: d_step { MISSED(1); listed[1] = ABSENT }
		fi;
#ifdef STATE_BEFORE_LIST
		d_step { decide(); copy[0] = 0; copy[1] = 0 }
#endif
		}

	/* Then the lock, the claim, the outcome. What is written is conditional on the lock, so they are read in one step. */
#ifdef STAMP_BEFORE_CLAIM
	:: d_step { todo == READ_LOCK -> known = known | WATCH(p); was_up = up(0) + 2 * up(1); todo = DECIDE }
	:: d_step { todo == DECIDE && unchanged -> decide() }
#elif !defined(STATE_BEFORE_LIST)
	:: d_step { todo == DECIDE -> known = known | WATCH(p); decide() }
#endif
#ifndef LIVENESS
	:: d_step { todo == DECIDE && lane != NOBODY && claimed && !verdict -> known = WATCH(p) }   /* copies a phase */
#endif
	/* A crash, or a lost race, after the claim was voided. */
	:: d_step { todo == DECIDE && lane != NOBODY && !verdict && claim[lane] == UNCLAIMED && gives_up && CRASHES;
		claim[lane] = VOID; stop() }

	/* Last the heartbeat. */
	:: d_step { todo == READ_HEARTBEAT && is_alive(held) ->
		if
		:: unchanged && suspect != NONE -> forget_suspect(); known = 0
		:: else
		fi;
		proceed() }
#ifdef LIVENESS
	:: d_step { todo == READ_HEARTBEAT && !is_alive(held) -> todo = EXPIRE }
#else
	/* The agent is dead, or froze until its lease expired and may thaw right after this read. Only this read can tell
	 * that an agent is frozen, so freezing, reading and thawing are one step. */
	:: d_step { todo == READ_HEARTBEAT -> todo = EXPIRE }
#endif
#ifdef CLOCK_AFTER_HEARTBEAT
	/* There was no heartbeat yet, and when the clock is read the claim is long ago. */
	:: d_step { todo == READ_HEARTBEAT && agent[held] == WORKING && unchanged -> give_verdict(0); proceed() }
#endif

	/* Record before acting. */
	:: d_step { todo == SUSPECT && unchanged -> forget_suspect(); suspect = SEEN; known = 0; late[held] = !was_up;
		proceed() }
#ifdef UNCONDITIONAL_VERDICT
	:: d_step { todo == END -> ending[target] = 1; give_verdict(0); proceed() }
#endif
#ifdef NEXT_BEFORE_TERMINATED
	:: d_step { todo == EXPIRE && not_reported && unchanged && lane == 0 && !recorded[1] ->
		give_verdict(1); terminate(0); resume() }
#endif
#ifdef RELEASE_BEFORE_TERMINATED
	:: d_step { todo == EXPIRE && not_reported && unchanged -> give_verdict(1); terminate(held); todo = RELEASE }
#else
	:: d_step { todo == EXPIRE && not_reported && unchanged -> ending[held] = 1; give_verdict(1); proceed() }
#endif

	/* Act. */
	:: d_step { todo == TERMINATE && ending[0] -> ending[0] = 0; terminate(0); proceed() }
	:: d_step { todo == TERMINATE && ending[1] -> ending[1] = 0; terminate(1); proceed() }
	:: d_step { todo == TERMINATE && ending[FOREIGN] -> ending[FOREIGN] = 0; terminate(FOREIGN); proceed() }
	:: d_step { todo == RELEASE && unchanged && !verdict && not_reported -> give_verdict(0) }
	:: d_step { todo == RELEASE && unchanged && verdict -> release_lock(); stop() }
	:: d_step { todo == RELEASE && unchanged && verdict && lane == 0 && !recorded[1] -> resume() }

	/* A lost race: start over. */
	:: d_step { (todo == READ_HEARTBEAT || todo == EXPIRE || todo == SUSPECT || todo == RELEASE) && !unchanged -> stop() }
	:: d_step { (todo == EXPIRE || (todo == RELEASE && !verdict)) && !not_reported -> stop() }

	/* A crash, or a lost race, after the outcome was taken. */
#ifndef VERDICT_WITHOUT_OUTCOME
	:: d_step { (todo == EXPIRE || (todo == RELEASE && !verdict)) && claim[held] == held && !outcome[held] && CRASHES;
		outcome[held] = WATCHDOG; stop() }
#endif

	/* A crash: the next call starts over. */
	:: d_step { todo != IDLE && CRASHES; stop() }
	od
}

init {
	atomic {
		est[FOREIGN] = RUNNING;
		run Launcher(0); run Launcher(1);
		run Agent(0); run Agent(1);
		run Ec2(0); run Ec2(1);
		run Watchdog(0);
#ifndef LIVENESS
		run Watchdog(1)
#endif
	}
}
