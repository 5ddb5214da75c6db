import type { OperationProgress } from '../engine/control.ts';

/** How far a step was when it was first heard of, and when that was, in milliseconds. */
export interface Beginning extends OperationProgress {
  readonly at: number;
}

/** Before this many milliseconds a rate says little about the rest. */
const soonest = 1000;

const longestBar = 30;
const shortestBar = 10;

/**
 * One line about something that goes on: what, how far, and where there is room, what is left of the time, how many of how many, how
 * fast. Time and rate are those measured since the step began, and not shown before that means something. It leaves the last
 * character of the line free, after which some terminals would wrap.
 * @param now milliseconds
 */
export function progressText(
  what: string,
  progress: OperationProgress,
  since: Beginning,
  { now, width }: { readonly now: number; readonly width: number },
): string {
  const room = width - 1;
  const label = `${what}: ${progress.step}`;
  let numbers = `${Math.floor(progress.fraction * 100)}%`.padStart(5);
  const more = [...timeLeft(progress, since, now), ...countOf(progress), ...rateOf(progress, since, now)];
  for (const part of more) if (label.length + numbers.length + part.length <= room) numbers += part;
  const short = shortened(label, room - numbers.length);
  return `${short}${bar(progress.fraction, room - short.length - numbers.length)}${numbers}`.slice(0, room);
}

/** @param room with the brackets, and the blank before them */
function bar(fraction: number, room: number): string {
  const length = Math.min(longestBar, room - 3);
  if (length < shortestBar) return '';
  const done = Math.round(fraction * length);
  return ` [${'#'.repeat(done)}${' '.repeat(length - done)}]`;
}

function shortened(text: string, room: number): string {
  return text.length <= room ? text : `${text.slice(0, Math.max(room - 1, 0))}…`;
}

function timeLeft({ fraction }: OperationProgress, since: Beginning, now: number): string[] {
  const [elapsed, gone] = [now - since.at, fraction - since.fraction];
  if (elapsed < soonest || gone <= 0 || fraction >= 1) return [];
  return [`  ${clock(((1 - fraction) / gone) * elapsed)} left`];
}

function countOf({ done, total }: OperationProgress): string[] {
  return done === undefined || total === undefined ? [] : [`  ${number(done)} of ${number(total)}`];
}

function rateOf({ done }: OperationProgress, since: Beginning, now: number): string[] {
  const [elapsed, gone] = [now - since.at, (done ?? 0) - (since.done ?? 0)];
  if (elapsed < soonest || gone <= 0) return [];
  const rate = (gone / elapsed) * 1000;
  return [`  ${rate < 10 ? rate.toFixed(1) : number(Math.round(rate))}/s`];
}

/** Minutes and seconds, with hours where there are any: rounded up, so that nothing is said to be left for no time. */
function clock(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = String(seconds % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

function number(value: number): string {
  return value.toLocaleString('en');
}
