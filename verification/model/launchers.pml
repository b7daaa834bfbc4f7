/* The launchers of one attempt, checked exhaustively by spin. README.md maps the model to the code.
 *
 * Two launchers overlap: the watchdog asks for one each minute, and it cannot know whether the last is still at work.
 * Two options to launch; EC2 refuses any of them at any time, and a repeated call for an option returns the instance
 * that the option has, by its client token. An agent claims; somebody may kill the run; the watchdog frees the lane of a
 * killed run, and of one that has waited long enough. Any process may pause between any two steps for any time, and a
 * launcher may crash there.
 *
 * Time is an adversary with one assumption: a launcher looks at the clock right before it asks EC2, so what it asks for
 * is asked for within its slot, which ends before another launcher may take over.
 *
 * `known` says which processes have read the lock since its last write, as in protocol.pml.
 *
 *   (no define)  for the assertions
 *   -DLIVENESS   for the property `frees` under weak fairness: launchers stop after two rounds
 *
 * Any other define is a mutant: the protocol without one of its rules.
 */

#define NONE     2        /* no option, no instance */

/* The lock. */
bit  held = 1;            /* the run holds the lane */
byte launching = NONE;    /* the option in work */
bit  stale;               /* ... is older than a slot and a margin */
byte holder = NONE;       /* the option whose instance the record names */
bit  waiting;             /* EC2 has refused every option at least once */
bit  stopped;             /* somebody has killed the run */
byte suspect;             /* 0, or since a first look at the absence of an instance: 1, and 2 once it is long ago */
byte known;

bit  up[2];               /* the instance of each option */
bit  slot[2];             /* launcher i may still ask EC2 for the option that it has recorded */

#define LAUNCHER(i) (1 << (i))
#define WATCH       4

#define wanted      (held && !stopped && holder == NONE)

/* The next step of a launcher. */
#define START    0
#define RECORD   1
#define ASK      2
#define NOTE     3        /* record the refusals */
#define COMMIT   4
#define CRASHED  5

proctype Launcher(bit i) {
	byte step = START;
	bit  option;
	bit  refused[2];
#ifdef LIVENESS
	byte rounds = 2;
#define AGAIN rounds > 0 -> rounds--
#else
#define AGAIN true
#endif

end:
	do
	/* Read the lock. One launcher at a time: another may still be at work on its option. */
#ifdef TAKE_OVER_AT_ONCE
	:: d_step { step == START && wanted && AGAIN;
#else
	:: d_step { step == START && wanted && (launching == NONE || stale) && AGAIN;
#endif
		known = known | LAUNCHER(i); refused[0] = 0; refused[1] = 0;
#ifdef FORGET_OPTION_IN_WORK
		option = 0;
		if
		:: launching == 0 -> option = 1
		:: else
		fi;
#else
		option = (launching == NONE -> 0 : launching);
#endif
		step = RECORD }

	/* Record the option, on condition that nobody has written the lock since. */
#ifdef LOCK_NOT_READ_AGAIN
	:: d_step { step == RECORD -> launching = option; stale = 0; suspect = 0; known = LAUNCHER(i); slot[i] = 1; step = ASK }
#else
	:: d_step { step == RECORD && (known & LAUNCHER(i)) ->
		launching = option; stale = 0; suspect = 0; known = LAUNCHER(i); slot[i] = 1; step = ASK }
	:: d_step { step == RECORD && !(known & LAUNCHER(i)) -> step = START }
#endif

	/* Ask EC2, within the slot. */
#ifdef ASK_PAST_SLOT
#define IN_SLOT(i) true
#else
#define IN_SLOT(i) slot[i]
#endif
	:: d_step { step == ASK && IN_SLOT(i) ->
		assert(!up[1 - option]);                                    /* ONE_INSTANCE */
		up[option] = 1; slot[i] = 0; step = COMMIT }
	:: d_step { step == ASK && IN_SLOT(i) && !up[option] -> slot[i] = 0; refused[option] = 1;
		step = (refused[1 - option] -> NOTE : RECORD); option = 1 - option }
	:: d_step { step == ASK && !IN_SLOT(i) -> step = START }

	/* Wait, or name the instance, on the same condition. */
	:: d_step { step == NOTE && (known & LAUNCHER(i)) ->
		launching = NONE; stale = 0; waiting = 1; known = 0; step = START }
	:: d_step { step == NOTE && !(known & LAUNCHER(i)) -> step = START }
	:: d_step { step == COMMIT && (known & LAUNCHER(i)) -> holder = option; waiting = 0; known = 0; step = START }
	:: d_step { step == COMMIT && !(known & LAUNCHER(i)) -> step = START }

	:: d_step { step != START && step != CRASHED -> slot[i] = 0; known = known & ~LAUNCHER(i); step = CRASHED }
	:: d_step { step == CRASHED -> step = START }                   /* the next invocation */
	od
}

active proctype Time() {
end:
	do
	:: d_step { launching != NONE && !stale -> stale = 1; slot[0] = 0; slot[1] = 0 }
	:: d_step { suspect == 1 -> suspect = 2 }
	od
}

active proctype Agents() {
end:
	do
	:: d_step { up[0] && wanted -> holder = 0; waiting = 0; suspect = 0; known = 0 }
	:: d_step { up[1] && wanted -> holder = 1; waiting = 0; suspect = 0; known = 0 }
	od
}

active proctype Somebody() {
end:
	d_step { held && !stopped -> stopped = 1; known = 0 }
}

#define nothing_up (!up[0] && !up[1])

inline release() {
	held = 0; launching = NONE; holder = NONE; waiting = 0; suspect = 0; known = 0
}

/* No launcher has recorded an option since EC2 refused the last one: there is no instance, and none can follow. */
inline release_at_once() {
	assert(nothing_up && !slot[0] && !slot[1]);                     /* NOTHING_STARTED */
	release()
}

active proctype Watchdog() {
end:
	do
#ifdef RELEASE_DURING_LAUNCH
	:: d_step { held && holder == NONE && stopped -> release_at_once() }
#else
	:: d_step { held && holder == NONE && stopped && launching == NONE -> release_at_once() }
#endif
	:: d_step { held && holder == NONE && waiting && launching == NONE -> release_at_once() }    /* waited long enough */
#ifndef KILL_WAITS_FOR_LAUNCH
	/* A launcher may be at work: two looks at EC2's list. */
	:: d_step { held && holder == NONE && stopped && launching != NONE && nothing_up && suspect == 0 ->
		suspect = 1; known = 0 }
	:: d_step { held && holder == NONE && stopped && launching != NONE && nothing_up && suspect == 2 -> release() }
#endif
	od
}

#ifdef LIVENESS
/* A killed run without an instance gives its lane back. With one, protocol.pml's watchdog terminates it. */
ltl frees { [] (stopped -> <> (!held || up[0] || up[1])) }
#endif

init {
	atomic { run Launcher(0); run Launcher(1) }
}
