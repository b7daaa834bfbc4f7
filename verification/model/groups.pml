/* A group: runs that share a budget and a limit of how many are at work. Checked exhaustively by spin. README.md maps
 * the model to the code.
 *
 * Three members, two at a time, two units of money. Two launchers go on with the group: once for whoever has created
 * it, then whenever the watchdog asks after the end of a member. They pause between any two steps for any time and may
 * crash anywhere. Somebody may kill the group at any time. What an instance, its watchdog and its launchers do is in
 * protocol.pml and launchers.pml: here a run in a lane that nobody has claimed gets an instance at some time.
 *
 * Any define is a mutant: a group without one of its rules.
 */

#define RUNS     4              /* members 1 to 3 */
#define PARALLEL 2
#define CAP      2

/* The ledger, replaced on condition. */
byte cap_of[RUNS];              /* what a member may cost; 0: not entered */
bit  stopped;                   /* nothing more starts */
bit  changed[3];                /* by launcher and killer: whether the ledger was written since its look */

/* By member. */
bit  held[RUNS];                /* its run holds its lane */
bit  claimed[RUNS];             /* it has an instance */
bit  final[RUNS];               /* its final record, written before its lane is free */
byte spent[RUNS];
bit  followed[RUNS];            /* the register that says that the group has gone on after it */

bit  over;                      /* the result of the group, written once */
bit  killed;                    /* the kill is done */

#define used(r)    (final[r] -> spent[r] : cap_of[r])
#define wrote()    changed[0] = 1; changed[1] = 1; changed[2] = 1

/* An instance is started. */
inline begin(r) {
	assert(!claimed[r]);                                                      /* STARTED_TWICE */
	claimed[r] = 1;
	assert((claimed[1] && !final[1]) + (claimed[2] && !final[2]) + (claimed[3] && !final[3]) <= PARALLEL); /* TOO_MANY_AT_WORK */
	assert(!killed);                                                          /* STARTED_AFTER_KILL */
	assert(cap_of[r] > 0 && (claimed[1] -> used(1) : 0) + (claimed[2] -> used(2) : 0) + (claimed[3] -> used(3) : 0) <= CAP) /* GROUP_OVER_CAP */
}

#define IDLE    0
#define LOOK    1
#define DECIDE  2
#define ENTER   3
#define TAKE    4
#define FOLLOW  5

#define active(r)   (caps[r] > 0 && !ended[r])
#define works(r)    (active(r) && in_lane[r])
#define homeless(r) (active(r) && !in_lane[r])
#define pending     ((caps[1] == 0) + (caps[2] == 0) + (caps[3] == 0))
#define at_work     (active(1) + active(2) + active(3))
#define left        (CAP - caps[1] - caps[2] - caps[3] + saved)
#define free        (PARALLEL - at_work < pending -> PARALLEL - at_work : pending)

inline forget() {
	caps[1] = 0; caps[2] = 0; caps[3] = 0; in_lane[1] = 0; in_lane[2] = 0; in_lane[3] = 0;
	ended[1] = 0; ended[2] = 0; ended[3] = 0; saved = 0; stop = 0
}

inline first_pending() {
	if
	:: caps[1] == 0 -> next = 1
	:: caps[1] > 0 && caps[2] == 0 -> next = 2
	:: else -> next = 3
	fi
}

proctype Launcher(byte me) {
	byte step = IDLE;
	byte caps[RUNS], saved, next, share, after;
	bit  in_lane[RUNS], ended[RUNS], stop, created;

end:
	do
	/* It is asked: once when the group is created, and after a member whose lane waits for the group to go on. */
	:: d_step { step == IDLE && me == 0 && !created -> created = 1; after = 0; step = LOOK }
	:: d_step { step == IDLE && held[1] && final[1] && !followed[1] -> after = 1; step = LOOK }
	:: d_step { step == IDLE && held[2] && final[2] && !followed[2] -> after = 2; step = LOOK }
	:: d_step { step == IDLE && held[3] && final[3] && !followed[3] -> after = 3; step = LOOK }

	/* The ledger, then lanes and final records. */
	:: d_step { step == LOOK ->
		caps[1] = cap_of[1]; caps[2] = cap_of[2]; caps[3] = cap_of[3]; stop = stopped; changed[me] = 0; step = DECIDE }
	:: d_step { step == DECIDE ->
		in_lane[1] = held[1]; in_lane[2] = held[2]; in_lane[3] = held[3];
		ended[1] = final[1]; ended[2] = final[2]; ended[3] = final[3];
		saved = (ended[1] -> caps[1] - spent[1] : 0) + (ended[2] -> caps[2] - spent[2] : 0) + (ended[3] -> caps[3] - spent[3] : 0);
		if
#ifndef FOLLOW_WHILE_STARTING
		:: !stop && homeless(1) -> next = 1; step = TAKE
		:: !stop && !homeless(1) && homeless(2) -> next = 2; step = TAKE
		:: !stop && !homeless(1) && !homeless(2) && homeless(3) -> next = 3; step = TAKE
		:: !stop && !homeless(1) && !homeless(2) && !homeless(3) && free > 0 && left > 0 ->
#else
		:: !stop && free > 0 && left > 0 ->
#endif
			share = (left / free > 0 -> left / free : 1); first_pending();
#ifdef LANE_BEFORE_ENTRY
			step = (held[next] -> ENTER : TAKE)
#else
			step = ENTER
#endif
		:: (stop && !(works(1) || works(2) || works(3))) || (!stop && at_work == 0 && (free == 0 || left == 0)) ->
			assert(stop || ((cap_of[1] == 0 || final[1]) && (cap_of[2] == 0 || final[2]) && (cap_of[3] == 0 || final[3]))); /* LOST_MEMBER */
			over = 1; step = FOLLOW
		:: else -> step = FOLLOW
		fi;
#ifdef UNCONDITIONAL_ENTRY
		if
		:: step == ENTER
		:: else -> forget()
		fi }
#else
		forget() }
#endif

	:: d_step { step == ENTER ->
		if
#ifdef UNCONDITIONAL_ENTRY
		:: true -> cap_of[1] = caps[1]; cap_of[2] = caps[2]; cap_of[3] = caps[3]; stopped = stop; forget();
#else
		:: !changed[me] ->
#endif
			cap_of[next] = share; wrote();
#ifdef LANE_BEFORE_ENTRY
			step = LOOK; next = 0
#else
			step = TAKE
#endif
#ifndef UNCONDITIONAL_ENTRY
		:: else -> step = LOOK; next = 0
#endif
		fi;
		share = 0 }
	/* The lane may be held by this very run. It may be free because that run is over: then its claim is there. */
	:: d_step { step == TAKE && held[next] -> next = 0; step = LOOK }
	:: d_step { step == TAKE && !held[next] -> held[next] = 1;
#ifdef MEMBER_CLAIM_NOT_READ
		if :: !stopped -> begin(next) :: else fi;
#endif
#ifdef LANE_BEFORE_ENTRY
		step = ENTER }
#else
		next = 0; step = LOOK }
#endif

	:: d_step { step == FOLLOW ->
		if
		:: after > 0 -> followed[after] = 1
		:: else
		fi;
		after = 0; step = IDLE }

#ifdef FOLLOW_BEFORE_NEXT
	:: d_step { step == LOOK && after > 0 && !followed[after] -> followed[after] = 1 }
#endif
	:: d_step { step != IDLE -> forget(); next = 0; share = 0; after = 0; step = IDLE }   /* it crashes */
	od
}

#ifdef STOP_NOT_READ
#define look()  skip
#else
#define look()  if :: stopped -> final[one] = 1; one = 0 :: else fi             /* it ends without an instance */
#endif

/* The launcher of a run: it looks whether the group is stopped, then starts the instance, on condition of the lock. */
active proctype Starter() {
	byte one;

end:
	do
	:: d_step { one == 0 && held[1] && !claimed[1] && !final[1] -> one = 1; look() }
	:: d_step { one == 0 && held[2] && !claimed[2] && !final[2] -> one = 2; look() }
	:: d_step { one == 0 && held[3] && !claimed[3] && !final[3] -> one = 3; look() }
	:: d_step { one > 0 ->
		if
		:: held[one] && !claimed[one] && !final[one] -> begin(one)
		:: else
		fi;
		one = 0 }
	od
}

#define works_on(r)  (held[r] && claimed[r] && !final[r])
#ifdef RELEASE_BEFORE_NEXT
#define concluded(r)  (held[r] && final[r])
#else
#define concluded(r)  (held[r] && final[r] && followed[r])
#endif

/* The watchdog of the three lanes. */
active proctype Watchdog() {
end:
	do
	:: d_step { works_on(1) -> final[1] = 1 }                                 /* for nothing */
	:: d_step { works_on(2) -> final[2] = 1 }
	:: d_step { works_on(3) -> final[3] = 1 }
	:: d_step { works_on(1) -> final[1] = 1; spent[1] = cap_of[1] }
	:: d_step { works_on(2) -> final[2] = 1; spent[2] = cap_of[2] }
	:: d_step { works_on(3) -> final[3] = 1; spent[3] = cap_of[3] }
	:: d_step { concluded(1) -> assert(over || held[2] || held[3]); held[1] = 0 }   /* LOST_GROUP */
	:: d_step { concluded(2) -> assert(over || held[1] || held[3]); held[2] = 0 }   /* LOST_GROUP */
	:: d_step { concluded(3) -> assert(over || held[1] || held[2]); held[3] = 0 }   /* LOST_GROUP */
	od
}

#define kill(r)  final[r] = final[r] || (cap_of[r] > 0 && held[r])

/* Somebody kills the group: nothing is entered any more, then those that hold a lane are ended. */
active proctype Killer() {
	byte caps[RUNS];

	d_step { caps[1] = cap_of[1]; caps[2] = cap_of[2]; caps[3] = cap_of[3]; changed[2] = 0 };
#ifdef KILL_LANES_FIRST
	d_step { kill(1) }; d_step { kill(2) }; d_step { kill(3) };
#endif
	do
#ifdef UNCONDITIONAL_STOP
	:: d_step { cap_of[1] = caps[1]; cap_of[2] = caps[2]; cap_of[3] = caps[3]; stopped = 1; wrote() } -> break
#else
	:: d_step { !changed[2] -> stopped = 1; wrote() } -> break
	:: d_step { changed[2] -> changed[2] = 0 }
#endif
	od;
	skip;
#ifndef KILL_LANES_FIRST
	d_step { kill(1) }; d_step { kill(2) }; d_step { kill(3) };
#endif
	d_step {
		caps[1] = 0; caps[2] = 0; caps[3] = 0; killed = 1;
		assert(!(claimed[1] && !final[1]) && !(claimed[2] && !final[2]) && !(claimed[3] && !final[3])) /* NOT_KILLED */
	}
}

init {
	atomic { run Launcher(0); run Launcher(1) }
}
