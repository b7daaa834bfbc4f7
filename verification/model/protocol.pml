/* The run protocol of one lane, checked exhaustively by spin. README.md maps it to the code.
 *
 * Two launchers, two instances with their agents, EC2, two concurrent watchdogs, one forged write to the lock. The
 * second launcher starts its own run, or another attempt of the first run after the watchdog has resumed it. Any process
 * may pause between any two steps for any time. A launcher that pauses forever has crashed. A watchdog may also crash
 * between any two steps, and is called again.
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
 * conditional verdict must be sufficient.
 *
 *   (no define)  the whole model, for the assertions
 *   -DLIVENESS   a smaller model for the property `settles` under weak fairness: one watchdog, which crashes or sees a
 *                lagging list at most twice in all; no forged write; agents write no notes. Under fairness nothing
 *                pauses forever, so launchers and agents may also stop for good.
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
#define ASKING    2   /* has read that it may claim (only in a mutant) */
#define WORKING   3   /* sends heartbeats, unless it freezes for a while */
#define DONE      4   /* has written its verdict, or is fenced: about to shut down */
#define STUCK     5   /* has worked, does nothing any more, and its instance is up */

/* A verdict, by its author; a suspicion that the run has no instance, by its age. */
#define NONE      0
#define AGENT     1
#define WATCHDOG  2
#define SEEN      1   /* the first look */
#define AGED      2   /* long enough ago for a second look */

byte est[3];
byte agent[3];

byte lane = NOBODY;     /* the lock: the run that holds the lane */
bit  claimed;
byte holder = NOBODY;   /* its instance_id */
byte verdict;
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

/* At most one agent works: if the other ever did, its instance is gone. */
inline start_work(i) {
	assert(!has_worked(1 - i));                                 /* ONE_AGENT */
	late[i] = 0;
	agent[i] = WORKING
}

/* The lock is released only when no instance of its run is up. One exception: an instance started by a launcher that
 * paused until after the watchdog's first look. It has not claimed, and finds nothing to claim. */
inline release_lock() {
	assert(!(up(lane) && (has_worked(lane) || !late[lane])));   /* RELEASED_ALIVE */
	lane = NOBODY; claimed = 0; holder = NOBODY; verdict = NONE; known = 0; forget_suspect()
}

/* No foreign instance is terminated, and none whose agent works and holds its lock. The watchdog's verdict takes the
 * lock away; a working agent gets one only if its lease was seen to have expired. (Whoever can forge the lock can end
 * its run.) */
#define healthy(id) (agent[id] == WORKING && est[id] == RUNNING && !(lane == id && holder == FOREIGN))

inline give_verdict(lease_is_out) {
	assert(lease_is_out || !healthy(held));                     /* VERDICT_ON_HEALTHY */
	lane = held; verdict = WATCHDOG; forget_suspect(); known = WATCH(p)
}

inline terminate(id) {
	assert(id != FOREIGN);                                      /* FOREIGN_TERMINATED */
	assert(!healthy(id) || (lane == id && verdict == WATCHDOG)); /* HEALTHY_TERMINATED */
	est[id] = (est[id] == RUNNING -> SHUTTING_DOWN : est[id])
}

#ifdef LIVENESS
#define attended(i) (agent[i] == WORKING && lane == (i) && holder == (i))
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
		est[i] = RUNNING; agent[i] = BOOTING; late[i] = (lane != i || suspect != NONE || verdict != NONE)
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

#ifdef ANY_ATTEMPT
#define same_run(i)  (lane == (i) || (resumed && lane == 1))
#else
#define same_run(i)  (lane == (i))
#endif
#define claimable(i) (same_run(i) && (holder == NOBODY || holder == (i)) && !claimed && verdict == NONE)

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
	:: d_step { step == START && i == 1 && resumed && claimable(1) && holder == NOBODY ->
		known = known | LAUNCHER(i); step = LAUNCH }
	:: d_step { step == LAUNCH -> run_instance(i) }             /* the response is lost, the call repeated */
	:: d_step { step == LAUNCH -> run_instance(i); step = OVER }
	:: d_step { step == LAUNCH && est[i] == NOT_LAUNCHED && (known & LAUNCHER(i)) ->
		release_lock(); step = OVER }                           /* no capacity */
#endif
#ifdef UNCONDITIONAL_COMMIT
	:: d_step { step == OVER -> lane = i; claimed = 0; holder = i; verdict = NONE; forget_suspect(); known = 0; step = 3 }
#else
	:: d_step { step == OVER && (known & LAUNCHER(i)) -> holder = i; known = 0 }
#endif
#ifdef LIVENESS
	:: d_step { step < OVER -> step = OVER; known = known & ~LAUNCHER(i) }
#endif
	od
}

/* --- an agent on its instance ----------------------------------------------------------------------------------- */

#define mine(i)      (lane == (i) && holder == (i) && verdict != WATCHDOG)

inline claim(i) {
#ifndef ANY_ATTEMPT
	lane = i;
#endif
	claimed = 1; holder = i; known = 0;
#ifndef CLAIM_KEEPS_SUSPECT
	forget_suspect();
#endif
	start_work(i)
}

proctype Agent(bit i) {
end:
	do
#if defined(NO_CLAIM)
	:: d_step { agent[i] == BOOTING -> start_work(i) }
#elif defined(UNCONDITIONAL_CLAIM)
	:: d_step { agent[i] == BOOTING && claimable(i) -> agent[i] = ASKING }
	:: d_step { agent[i] == ASKING -> claim(i) }
#else
	:: d_step { agent[i] == BOOTING && claimable(i) -> claim(i) }
#endif
#ifndef NO_CLAIM
	:: d_step { agent[i] == BOOTING && !claimable(i) -> agent[i] = OFF; est[i] = SHUTTING_DOWN } /* fenced */
	:: d_step { agent[i] == WORKING && !mine(i) -> agent[i] = DONE }       /* fenced, or ended by the watchdog */
#endif
#ifndef LIVENESS
	:: d_step { agent[i] == WORKING && mine(i) -> known = 0 }              /* a note, a phase */
#endif
	:: d_step { agent[i] == WORKING && mine(i) -> agent[i] = DONE; verdict = AGENT; known = 0; forget_suspect() }
	:: d_step { agent[i] == DONE && est[i] == RUNNING -> est[i] = SHUTTING_DOWN }
#ifdef LIVENESS
	:: d_step { agent[i] == BOOTING -> agent[i] = OFF }                    /* it never boots */
	:: d_step { agent[i] == WORKING || agent[i] == DONE -> agent[i] = STUCK }
#endif
	od
}

/* --- the watchdog ----------------------------------------------------------------------------------------------- */

/* The next step. */
#define IDLE           0
#define DECIDE         1   /* EC2 is listed: read the lock */
#define READ_HEARTBEAT 2   /* read the heartbeat: the rest depends on it */
#define GIVE_VERDICT   3   /* to the run, which nobody claimed (in mutants; else one step with DECIDE) */
#define EXPIRE         4   /* give the run a verdict: its lease has expired */
#define SUSPECT        5   /* record the first look: the run has no instance */
#define TERMINATE      6   /* the instances in `ending` */
#define RELEASE        7   /* the lock, or hand it to the next attempt */

/* An instance's status in EC2's list. */
#define ABSENT         0
#define UP             1
#define STOPPING       2
#define ENDED          3

#ifdef LIVENESS
byte faults = 2;
#define MISSED(i) missed(i) && faults > 0 -> faults--
#define CRASHED   todo != IDLE && faults > 0 -> faults--
#else
#define MISSED(i) missed(i)
#define CRASHED   todo != IDLE
#endif

#define status_of(i) \
	(est[i] == RUNNING -> UP : (est[i] == SHUTTING_DOWN -> STOPPING : (est[i] == TERMINATED -> ENDED : ABSENT)))

/* The list may lag, except for an instance that was up at a first look that is AGED. It drops terminated ones. */
#define missed(i) (up(i) && !(suspect == AGED && !late[i]))
#define lost(i)   (est[i] == TERMINATED)

#ifdef STATE_BEFORE_LIST
#define r_lane     copy[0]
#define r_claimed  copy[1]
#define r_holder   copy[2]
#define r_verdict  copy[3]
#define r_suspect  copy[4]
#else
#define r_lane     lane
#define r_claimed  claimed
#define r_holder   holder
#define r_verdict  verdict
#define r_suspect  suspect
#endif

#ifdef CLOCK_AFTER_LIST
#define long_ago   (r_suspect == AGED)
#else
#define long_ago   (r_suspect == AGED && aged[p])
#endif

#ifdef IDS_FROM_STATE
#define belongs(i) (r_lane == (i))
#define target     (r_holder == NOBODY -> r_lane : r_holder)
#else
#define belongs(i) (r_lane == (i) && (r_holder == NOBODY || r_holder == (i)))
#define target     r_lane
#endif

#define unchanged    (known & WATCH(p))
#ifdef UNCONDITIONAL_VERDICT
#define may_give_verdict 1
#else
#define may_give_verdict unchanged
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
	:: listed[i] == UP && !belongs(i) -> ending[i] = 1
#endif
	:: else
	fi
}

/* The run that holds the lane, apart from its heartbeat. */
inline decide_run() {
	held = r_lane;
	if
	:: listed[held] == UP && belongs(held) ->
		if
		:: r_verdict == NONE && r_claimed -> todo = READ_HEARTBEAT
#ifdef UNCONDITIONAL_VERDICT
		:: r_verdict == NONE && !r_claimed -> todo = GIVE_VERDICT
#else
		:: r_verdict == NONE && !r_claimed && unchanged -> ending[target] = 1; give_verdict(0) /* never claimed */
#endif
#ifndef TERMINATE_ONCE
		:: r_verdict == WATCHDOG -> ending[target] = 1            /* not terminated yet */
#endif
		:: r_verdict == AGENT -> ending[target] = 1               /* still up after its verdict */
		:: else
		fi
	:: listed[held] == ENDED && belongs(held) -> todo = RELEASE
	:: listed[held] == ABSENT || (listed[held] == ENDED && !belongs(held)) ->
		if
#ifdef ONE_LOOK_AT_ABSENCE
		:: true -> todo = RELEASE
#else
		:: r_suspect == NONE -> todo = SUSPECT
		:: r_suspect != NONE && long_ago -> todo = RELEASE
		:: else
#endif
		fi
	:: listed[held] == STOPPING && belongs(held) && r_verdict == NONE && r_suspect == NONE -> todo = SUSPECT
	:: else
	fi
}

inline decide() {
	todo = IDLE;
	decide_orphan(0);
	decide_orphan(1);
	if
	:: r_lane != NOBODY -> decide_run()
	:: else
	fi;
	listed[0] = ABSENT; listed[1] = ABSENT; aged[p] = 0;
	/* A first look is dated now, when the lock has been read; in a mutant, by the list. */
	if
#ifdef STAMP_BEFORE_LIST
	:: todo == SUSPECT -> was_up = (was_up >> held) & 1
#else
	:: todo == SUSPECT -> was_up = up(held)
#endif
	:: todo == IDLE -> proceed()
	:: else -> was_up = 0
	fi
}

proctype Watchdog(bit p) {
	byte listed[2];
	bit ending[3];          /* instances to terminate */
	byte todo;
	byte held = NOBODY;   /* the run in question */
	byte was_up;           /* its instance was up at the first look, listed or not */
#ifdef STATE_BEFORE_LIST
	byte copy[5];
#endif

	do
	/* First EC2's list. The clock is read before it: ages are those of the moment when the list was requested. */
#ifdef STATE_BEFORE_LIST
	:: d_step { todo == IDLE -> copy[0] = lane; copy[1] = claimed; copy[2] = holder; copy[3] = verdict; copy[4] = suspect;
		known = known | WATCH(p); todo = DECIDE }
	:: atomic { todo == DECIDE ->
#else
	:: atomic { todo == IDLE -> todo = DECIDE;
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
		d_step { decide(); copy[0] = 0; copy[1] = 0; copy[2] = 0; copy[3] = 0; copy[4] = 0 }
#endif
		}

	/* Then the lock. */
#ifndef STATE_BEFORE_LIST
	:: d_step { todo == DECIDE -> known = known | WATCH(p); decide() }
#endif

	/* Last the heartbeat. */
	:: d_step { todo == READ_HEARTBEAT && agent[held] == WORKING ->
		if
		:: unchanged && suspect != NONE -> forget_suspect(); known = 0
		:: else
		fi;
		proceed() }
#ifdef LIVENESS
	:: d_step { todo == READ_HEARTBEAT && agent[held] != WORKING -> todo = EXPIRE }
#else
	/* The agent is dead, or froze until its lease expired and may thaw right after this read. Only this read can tell
	 * that an agent is frozen, so freezing, reading and thawing are one step. */
	:: d_step { todo == READ_HEARTBEAT -> todo = EXPIRE }
#endif
#ifdef CLOCK_AFTER_HEARTBEAT
	/* There was no heartbeat yet, and when the clock is read the claim is long ago. */
	:: d_step { todo == READ_HEARTBEAT && agent[held] == WORKING -> todo = GIVE_VERDICT }
#endif

	/* Record before acting. */
	:: d_step { todo == SUSPECT && unchanged -> forget_suspect(); suspect = SEEN; known = 0; late[held] = !was_up;
		proceed() }
	:: d_step { todo == GIVE_VERDICT && may_give_verdict -> ending[held] = 1; give_verdict(0); proceed() }
#ifdef RELEASE_BEFORE_TERMINATED
	:: d_step { todo == EXPIRE && unchanged -> give_verdict(1); terminate(held); todo = RELEASE }
#else
	:: d_step { todo == EXPIRE && unchanged -> ending[held] = 1; give_verdict(1); proceed() }
#endif

	/* Act. */
	:: d_step { todo == TERMINATE && ending[0] -> ending[0] = 0; terminate(0); proceed() }
	:: d_step { todo == TERMINATE && ending[1] -> ending[1] = 0; terminate(1); proceed() }
	:: d_step { todo == TERMINATE && ending[FOREIGN] -> ending[FOREIGN] = 0; terminate(FOREIGN); proceed() }
	:: d_step { todo == RELEASE && unchanged && verdict == NONE -> give_verdict(0) } /* or resume */
	:: d_step { todo == RELEASE && unchanged && verdict != NONE -> release_lock(); stop() }
	:: d_step { todo == RELEASE && unchanged && lane == 0 && !recorded[1] ->
		release_lock(); lane = 1; recorded[1] = 1; resumed = 1; stop() }

	/* A lost race: start over. */
	:: d_step { (todo == READ_HEARTBEAT || todo == EXPIRE || todo == SUSPECT || todo == RELEASE) && !unchanged -> stop() }

	/* A crash: the next call starts over. */
	:: d_step { CRASHED; stop() }
	od
}

/* --- somebody who may write to the bucket ----------------------------------------------------------------------- */

proctype Forger() {
end:
	d_step { lane != NOBODY -> holder = FOREIGN; known = 0 }
}

init {
	atomic {
		est[FOREIGN] = RUNNING;
		run Launcher(0); run Launcher(1);
		run Agent(0); run Agent(1);
		run Ec2(0); run Ec2(1);
		run Watchdog(0);
#ifndef LIVENESS
		run Watchdog(1);
		run Forger()
#endif
	}
}
