import { constants, getPriority, setPriority } from 'node:os';

/** What a thread that answers has before those that work: a little more than usual programs. */
const first = -5;

/** Has this thread run before others that want the processor, where this user may do that. Threads that it starts inherit it. */
export function runFirst(): void {
  try {
    setPriority(0, first);
  } catch {
    // Without the right it is one of many, as before.
  }
}

/** Takes back what a thread has inherited of that. */
export function runLikeOthers(): void {
  if (getPriority() === first) setPriority(0, constants.priority.PRIORITY_NORMAL);
}
