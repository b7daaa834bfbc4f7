/* The run protocol of one lane, checked exhaustively by spin. README.md has the map to the code.
 *
 * Two launchers, two instances with their agents, EC2, two watchdogs at once, one forged write to the lock. The second
 * launcher starts a run of its own, or a further attempt of the first run when the watchdog has resumed it. Any process
 * may pause between any two of its steps for as long as it likes. A launcher that pauses for ever has crashed; a
 * watchdog may also crash between any two steps, and is called again.
 *
 * Time is the adversary's. Boot limit, lease and grace have run out whenever that is possible at all: the watchdog
 * always acts on them, and how late it does is a question of interleaving. Only two things are promised: an agent that
 * beats has a lease, and EC2's list lags by less than the time between the two looks at an absence.
 *
 * Versions are not counted. `known` says which processes have read the lock since it was last written, and a
 * conditional write succeeds exactly for those: that is what a version that never recurs means, and it is finite. For
 * the same reason a read with a conditional write right after it is one step: if the write succeeds, nothing has
 * happened to the lock between them, and if not, nothing happens at all.
 *
 * The watchdog of the model does not read the lock again before it terminates, which the code does: the order of the
 * reads and the conditional verdict have to carry the proof alone.
 *
 *   (nothing)    all of it, for the assertions
 *   -DLIVENESS   for the property `settles` under weak fairness, smaller: one watchdog, which crashes or is shown a
 *                lagging list at most twice in all; no forged write; agents write no notes. In a fair world nobody
 *                pauses for ever, so launchers and agents may also stop for good.
 *
 * Any other define is a mutant: the protocol without one of its rules.
 */

/* An instance, as EC2 has it. Run i, which may be another attempt of run 0, has instance i: the token of an attempt
 * allows no second one. */
#define UNBORN    0
#define RUNNING   1   /* or pending */
#define LEAVING   2   /* shutting-down: its agent may still run */
#define DEAD      3   /* terminated: listed as such, or not at all any more */
#define FOREIGN   2   /* the id of an instance that is not ours */
#define NOBODY    3

/* An agent. */
#define OFF       0
#define BOOTING   1
#define ASKING    2   /* has read that it may claim (only in a mutant) */
#define WORKING   3   /* works on data, and beats unless it freezes for a while */
#define DONE      4   /* has worked, and has said its last word or is fenced: on the way out */
#define STUCK     5   /* has worked, will never do anything again, and its box is up */

/* A verdict, by its judge; a suspicion that the run has no instance, by its age. */
#define NONE      0
#define AGENT     1
#define WATCHDOG  2
#define SEEN      1   /* the first look */
#define AGED      2   /* so long ago that a second look counts */

byte est[3];
byte agent[3];

byte lane = NOBODY;     /* the lock: the run that holds the lane */
bit  claimed;
byte holder = NOBODY;   /* its instance_id */
byte verdict;
byte suspect;
byte known;             /* by process, a bit: it has read what is there now */

bit  late[2];           /* was not there yet at the first look at its absence, or not before its run's end */
bit  aged[2];           /* when watchdog p looked at the clock, the first look was AGED */
bit  begun[2];          /* run i was recorded. Which launcher comes first makes no difference: it is launcher 0 */
bit  resumed;           /* run 1 is an attempt of run 0 */

#define LAUNCHER(i)   (1 << (i))
#define WATCH(p)      (4 << (p))

#define up(i)         (est[i] == RUNNING || est[i] == LEAVING)
#define took(i)       (agent[i] >= WORKING)   /* its agent began to work, and its box is up */

/* --- the properties --------------------------------------------------------------------------------------------- */

/* At most one agent works: if the other ever did, its box is gone. */
inline start_work(i) {
	assert(!took(1 - i));                                       /* ONE_AGENT */
	late[i] = 0;
	agent[i] = WORKING
}

/* The lock goes when no instance of its run is up. The one exception was started by a launcher that had paused until
 * after the watchdog's first look: it has not claimed, and finds nothing to claim any more. */
inline release_lock() {
	assert(!(up(lane) && (took(lane) || !late[lane])));         /* RELEASED_ALIVE */
	lane = NOBODY; claimed = 0; holder = NOBODY; verdict = NONE; known = 0; forget_suspect()
}

/* Only what is ours is ended, and nothing that works and holds its lock. The watchdog's verdict takes the lock away,
 * and is passed on a working agent only when its lease was found to have run out. (Who can forge the lock can end its
 * run.) */
#define healthy(id) (agent[id] == WORKING && est[id] == RUNNING && !(lane == id && holder == FOREIGN))

inline condemn(lease_is_out) {
	assert(lease_is_out || !healthy(held));                     /* HEALTHY_CONDEMNED */
	lane = held; verdict = WATCHDOG; forget_suspect(); known = WATCH(p)
}

inline terminate(id) {
	assert(id != FOREIGN);                                      /* NOT_OURS */
	assert(!healthy(id) || (lane == id && verdict == WATCHDOG)); /* HEALTHY_ENDED */
	est[id] = (est[id] == RUNNING -> LEAVING : est[id])
}

#ifdef LIVENESS
#define tended(i) (agent[i] == WORKING && lane == (i) && holder == (i))
#define at_rest   ((!up(0) || tended(0)) && (!up(1) || tended(1)) && (lane == NOBODY || tended(0) || tended(1)))

/* For ever again: no instance is up and no lane held, but by an agent that works. */
ltl settles { []<> at_rest }
#endif

/* --- time, as far as it counts ---------------------------------------------------------------------------------- */

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
	:: est[i] == UNBORN ->
		est[i] = RUNNING; agent[i] = BOOTING; late[i] = (lane != i || suspect != NONE || verdict != NONE)
	:: else                                                     /* a repeated call starts nothing: the token */
	fi
}

inline create_lock(i) {
	lane = i; known = LAUNCHER(i); begun[i] = 1
}

proctype Ec2(bit i) {
end:
	do
#ifndef LIVENESS
	:: d_step { est[i] == RUNNING -> est[i] = LEAVING }                    /* reclaimed, or ended by a person */
#endif
	:: d_step { est[i] == LEAVING -> est[i] = DEAD; agent[i] = OFF; late[i] = 0 }
	od
}

#ifdef ANY_ATTEMPT
#define same_run(i)  (lane == (i) || (resumed && lane == 1))
#else
#define same_run(i)  (lane == (i))
#endif
#define claimable(i) (same_run(i) && (holder == NOBODY || holder == (i)) && !claimed && verdict == NONE)

/* --- a launcher ------------------------------------------------------------------------------------------------- */

/* A launcher that pauses for ever has crashed. One that is OVER may still have its commit to do. */
#define START     0
#define LAUNCH    1
#define OVER      2

#define may_create(i) (lane == NOBODY && !begun[i] && (i == 0 || begun[0]))

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
	:: d_step { step == LAUNCH -> run_instance(i) }             /* the answer is lost, the call repeated */
	:: d_step { step == LAUNCH -> run_instance(i); step = OVER }
	:: d_step { step == LAUNCH && est[i] == UNBORN && (known & LAUNCHER(i)) ->
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

/* --- an agent on its box ---------------------------------------------------------------------------------------- */

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
	:: d_step { agent[i] == BOOTING && !claimable(i) -> agent[i] = OFF; est[i] = LEAVING } /* fenced */
	:: d_step { agent[i] == WORKING && !mine(i) -> agent[i] = DONE }       /* fenced, or condemned */
#endif
#ifndef LIVENESS
	:: d_step { agent[i] == WORKING && mine(i) -> known = 0 }              /* a note, a phase */
#endif
	:: d_step { agent[i] == WORKING && mine(i) -> agent[i] = DONE; verdict = AGENT; known = 0; forget_suspect() }
	:: d_step { agent[i] == DONE && est[i] == RUNNING -> est[i] = LEAVING }
#ifdef LIVENESS
	:: d_step { agent[i] == BOOTING -> agent[i] = OFF }                    /* it never boots */
	:: d_step { agent[i] == WORKING || agent[i] == DONE -> agent[i] = STUCK }
#endif
	od
}

/* --- the watchdog ----------------------------------------------------------------------------------------------- */

/* What it is about to do. */
#define IDLE      0
#define JUDGE     1   /* having listed EC2, to read the lock */
#define LISTEN    2   /* to read the beat: the rest depends on it */
#define CONDEMN   3   /* the run, since nobody claimed it (in a mutant; else one step with JUDGE) */
#define EXPIRE    4   /* to condemn the run, since its lease has run out */
#define SUSPECT   5   /* to write that the run has no instance, at a first look */
#define TERMINATE 6   /* what is in `doom` */
#define RELEASE   7   /* the lock, or give it to the next attempt */

/* What EC2's list says of an instance. */
#define ABSENT    0
#define UP        1
#define GOING     2
#define ENDED     3

#ifdef LIVENESS
byte mishaps = 2;
#define MISSED(i) missed(i) && mishaps > 0 -> mishaps--
#define CRASHED   todo != IDLE && mishaps > 0 -> mishaps--
#else
#define MISSED(i) missed(i)
#define CRASHED   todo != IDLE
#endif

#define sight(i)  (est[i] == RUNNING -> UP : (est[i] == LEAVING -> GOING : (est[i] == DEAD -> ENDED : ABSENT)))

/* The list may lag, except on what was there at a first look that is AGED. It also forgets what has ended. */
#define missed(i) (up(i) && !(suspect == AGED && !late[i]))
#define lost(i)   (est[i] == DEAD)

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

#define unraced    (known & WATCH(p))
#ifdef UNCONDITIONAL_VERDICT
#define may_condemn 1
#else
#define may_condemn unraced
#endif

/* What is not needed any more is forgotten, so that equal situations are equal states. */
inline stop() {
	listed[0] = ABSENT; listed[1] = ABSENT; doom[0] = 0; doom[1] = 0; doom[FOREIGN] = 0;
	todo = IDLE; held = NOBODY; there = 0; aged[p] = 0; known = known & ~WATCH(p)
}

inline go_on() {
	if
	:: doom[0] || doom[1] || doom[FOREIGN] -> todo = TERMINATE; held = NOBODY; there = 0; known = known & ~WATCH(p)
	:: else -> stop()
	fi
}

/* An instance without a record. */
inline judge_stray(i) {
	if
#ifndef FORGET_STRAYS
	:: listed[i] == UP && !belongs(i) -> doom[i] = 1
#endif
	:: else
	fi
}

/* The run that holds the lane, but for its beat. */
inline judge_run() {
	held = r_lane;
	if
	:: listed[held] == UP && belongs(held) ->
		if
		:: r_verdict == NONE && r_claimed -> todo = LISTEN
#ifdef UNCONDITIONAL_VERDICT
		:: r_verdict == NONE && !r_claimed -> todo = CONDEMN
#else
		:: r_verdict == NONE && !r_claimed && unraced -> doom[target] = 1; condemn(0) /* nobody came, or not in time */
#endif
#ifndef TERMINATE_ONCE
		:: r_verdict == WATCHDOG -> doom[target] = 1            /* condemned */
#endif
		:: r_verdict == AGENT -> doom[target] = 1               /* still up after its last word */
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
	:: listed[held] == GOING && belongs(held) && r_verdict == NONE && r_suspect == NONE -> todo = SUSPECT
	:: else
	fi
}

inline judge() {
	todo = IDLE;
	judge_stray(0);
	judge_stray(1);
	if
	:: r_lane != NOBODY -> judge_run()
	:: else
	fi;
	listed[0] = ABSENT; listed[1] = ABSENT; aged[p] = 0;
	/* A first look counts from now, when the lock has been read; in a mutant, from the list. */
	if
#ifdef STAMP_BEFORE_LIST
	:: todo == SUSPECT -> there = (there >> held) & 1
#else
	:: todo == SUSPECT -> there = up(held)
#endif
	:: todo == IDLE -> go_on()
	:: else -> there = 0
	fi
}

proctype Watchdog(bit p) {
	byte listed[2];
	bit doom[3];          /* what it has resolved to end */
	byte todo;
	byte held = NOBODY;   /* the run to do it about */
	byte there;           /* at the first look its instance was up, listed or not */
#ifdef STATE_BEFORE_LIST
	byte copy[5];
#endif

	do
	/* EC2's list, first. The clock is read before it: no age is longer than it was when the list was asked for. */
#ifdef STATE_BEFORE_LIST
	:: d_step { todo == IDLE -> copy[0] = lane; copy[1] = claimed; copy[2] = holder; copy[3] = verdict; copy[4] = suspect;
		known = known | WATCH(p); todo = JUDGE }
	:: atomic { todo == JUDGE ->
#else
	:: atomic { todo == IDLE -> todo = JUDGE;
#endif
		d_step { aged[p] = (suspect == AGED); listed[0] = sight(0); listed[1] = sight(1) };
#ifdef STAMP_BEFORE_LIST
		there = up(0) + 2 * up(1);
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
		d_step { judge(); copy[0] = 0; copy[1] = 0; copy[2] = 0; copy[3] = 0; copy[4] = 0 }
#endif
		}

	/* The lock, then. */
#ifndef STATE_BEFORE_LIST
	:: d_step { todo == JUDGE -> known = known | WATCH(p); judge() }
#endif

	/* The beat, last. */
	:: d_step { todo == LISTEN && agent[held] == WORKING ->
		if
		:: unraced && suspect != NONE -> forget_suspect(); known = 0
		:: else
		fi;
		go_on() }
#ifdef LIVENESS
	:: d_step { todo == LISTEN && agent[held] != WORKING -> todo = EXPIRE }
#else
	/* It is dead, or froze until its lease had run out, and may thaw right after this look. A frozen agent does nothing,
	 * and nobody but this look can tell that it is frozen: so to freeze, to be looked at and to thaw are one step. */
	:: d_step { todo == LISTEN -> todo = EXPIRE }
#endif
#ifdef CLOCK_AFTER_BEAT
	/* There was no beat yet, and when the clock is read the claim is long ago. */
	:: d_step { todo == LISTEN && agent[held] == WORKING -> todo = CONDEMN }
#endif

	/* The record, before any deed. */
	:: d_step { todo == SUSPECT && unraced -> forget_suspect(); suspect = SEEN; known = 0; late[held] = !there; go_on() }
	:: d_step { todo == CONDEMN && may_condemn -> doom[held] = 1; condemn(0); go_on() }
#ifdef RELEASE_BEFORE_DEATH
	:: d_step { todo == EXPIRE && unraced -> condemn(1); terminate(held); todo = RELEASE }
#else
	:: d_step { todo == EXPIRE && unraced -> doom[held] = 1; condemn(1); go_on() }
#endif

	/* The deeds. */
	:: d_step { todo == TERMINATE && doom[0] -> doom[0] = 0; terminate(0); go_on() }
	:: d_step { todo == TERMINATE && doom[1] -> doom[1] = 0; terminate(1); go_on() }
	:: d_step { todo == TERMINATE && doom[FOREIGN] -> doom[FOREIGN] = 0; terminate(FOREIGN); go_on() }
	:: d_step { todo == RELEASE && unraced && verdict == NONE -> condemn(0) } /* it ends with a verdict, or goes on */
	:: d_step { todo == RELEASE && unraced && verdict != NONE -> release_lock(); stop() }
	:: d_step { todo == RELEASE && unraced && lane == 0 && !begun[1] ->
		release_lock(); lane = 1; begun[1] = 1; resumed = 1; stop() }

	/* A lost race: all from the start. */
	:: d_step { (todo == LISTEN || todo == EXPIRE || todo == SUSPECT || todo == RELEASE) && !unraced -> stop() }

	/* A crash; the next call starts anew. */
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
