/* The registry of a model: a champion pointer that concluded runs and operators change. Checked exhaustively by spin.
 * README.md maps the model to the code.
 *
 * Two runs are launched at any time, each compared with the champion of that moment; whether a run is better than that is
 * open. Two watchdogs conclude them: both may be at the same run, pause between any two steps for any time, and crash
 * there. An operator takes a champion back, at any time.
 *
 * A version of the pointer is its `seq`: every write carries the next one, so no content recurs.
 *
 * Any define is a mutant: the registry without one of its rules.
 */

#define VERSIONS 6
#define UNKNOWN  15

/* The pointer. */
byte seq;                 /* 0: there is no champion */
byte champion;            /* 0, or the run whose model it is */
byte history[VERSIONS] = UNKNOWN;    /* append-only: the champion of each version, 0 is the first */

/* The runs 1 and 2. */
bit  launched[3];
byte compared[3];         /* the version that the run is compared with, from its request */
bit  better[3];           /* than that */
bit  concluded[3];

#define OPEN    0
#define PROMOTE 1
#define KEEP    2
byte judgement[3] = OPEN; /* created once */
bit  written[3];          /* the truth: whether the run has become champion by its conclusion */

#define IDLE    0
#define JUDGE   1
#define APPLY   2
#define WRITE   3
#define APPEND  4
#define TELL    5

inline append(version, r) {
	assert(history[version] == UNKNOWN || history[version] == r);       /* HISTORY_CHANGED */
	history[version] = r
}

proctype Watchdog() {
	byte step = IDLE;
	byte r;
	byte read_seq, read_champion;
	bit  promoted;

end:
	do
	:: d_step { step == IDLE && launched[1] && !concluded[1] -> r = 1; step = JUDGE;
		read_seq = seq; read_champion = champion }
	:: d_step { step == IDLE && launched[2] && !concluded[2] -> r = 2; step = JUDGE;
		read_seq = seq; read_champion = champion }

	/* Judge once: whoever creates the object first has decided. */
#ifdef JUDGE_AGAIN
	:: d_step { step == JUDGE ->
#else
	:: d_step { step == JUDGE && judgement[r] != OPEN -> step = APPLY }
	:: d_step { step == JUDGE && judgement[r] == OPEN ->
#endif
		if
#ifdef ANY_CHAMPION
		:: better[r] -> judgement[r] = PROMOTE
#elif defined(FIRST_NEEDS_A_CHAMPION)
		:: better[r] && read_seq == compared[r] && read_seq > 0 -> judgement[r] = PROMOTE
#else
		:: better[r] && read_seq == compared[r] -> judgement[r] = PROMOTE
#endif
		:: else -> judgement[r] = KEEP
		fi;
		step = APPLY }

	:: d_step { step == APPLY && judgement[r] == KEEP -> promoted = 0; step = TELL }
	:: d_step { step == APPLY && judgement[r] == PROMOTE -> read_seq = seq; read_champion = champion;
		if
#ifdef ANY_CHAMPION
		:: read_champion != r -> step = WRITE
#else
		:: read_seq == compared[r] -> step = WRITE
#endif
		:: read_seq > compared[r] && read_champion == r -> step = APPEND
		/* The pointer has moved on; the history says whether it was this run that moved it. */
		:: else -> promoted = (history[compared[r] + 1] == r); step = TELL
		fi }

	/* The version that is replaced is in the history first: nobody could look it up later. */
	:: d_step { step == WRITE ->
#ifndef REPLACE_BEFORE_HISTORY
		append(read_seq, read_champion);
#endif
#ifdef UNCONDITIONAL_WRITE
		if
		:: true ->
#else
		if
		:: seq == read_seq ->
#endif
			assert(better[r] && compared[r] == seq);                  /* WORSE_PROMOTED */
			assert(!written[r]);                                        /* PROMOTED_TWICE */
			seq = read_seq + 1; champion = r; written[r] = 1; read_seq = seq; read_champion = r; step = APPEND
#ifndef UNCONDITIONAL_WRITE
		:: else -> step = APPLY
#endif
		fi }

	:: d_step { step == APPEND -> append(read_seq, read_champion); promoted = 1; step = TELL }

	:: d_step { step == TELL ->
		assert(promoted == written[r]);                                 /* UNTRUE_MESSAGE */
		/* Kept, although it was better: then the champion is another than the one it was compared with. */
		assert(promoted || !better[r] || seq != compared[r]);         /* LOST_PROMOTION */
		concluded[r] = 1; step = IDLE }

	:: d_step { step != IDLE -> step = IDLE }                               /* crashed: the next pass repeats it all */
	od
}

/* An operator takes the champion back, on condition that the pointer is still the one shown. */
proctype Operator() {
	byte read_seq, read_champion;
	byte rounds = 2;

end:
	do
	:: rounds > 0 && seq > 0 && seq < VERSIONS - 1 ->
		rounds--;
		d_step { read_seq = seq; read_champion = champion }
		d_step { append(read_seq, read_champion) }
		d_step {
			if
#ifdef UNCONDITIONAL_ROLLBACK
			:: history[read_seq - 1] != UNKNOWN ->
#else
			:: seq == read_seq && history[read_seq - 1] != UNKNOWN ->
#endif
#ifdef VERSION_RECURS
				seq = read_seq - 1;
#else
				seq = read_seq + 1;
#endif
				champion = history[read_seq - 1]
			:: else
			fi }
	od
}

active proctype Launches() {
end:
	do
	:: d_step { !launched[1] -> launched[1] = 1; compared[1] = seq }
	:: d_step { !launched[2] -> launched[2] = 1; compared[2] = seq }
	od
}

init {
	if
	:: better[1] = 1
	:: skip
	fi;
	if
	:: better[2] = 1
	:: skip
	fi;
	atomic { run Watchdog(); run Watchdog(); run Operator() }
}
