import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { type SystemCall, type SystemCallName, systemCall } from './direct-calls.ts';

/**
 * System calls, made synchronously: 0.2 us over the bare call. Loaded on first import (14 ms), so only code that
 * really talks to a pool imports this. Everything that changes a pool goes through `call`, where a test can count it.
 */

const { EBADF, EINTR } = constants.errno;

/** A system call that failed; `code` is the errno's name, as in Node's own errors. */
export class SystemError extends Error {
  readonly code: string;
  readonly syscall: string;

  constructor(errno: number, syscall: string, subject: string) {
    const code = getSystemErrorName(-errno);
    super(`${syscall} ${subject}: ${code}`);
    this.name = 'SystemError';
    this.code = code;
    this.syscall = syscall;
  }
}

/** Whether an error, ours or Node's, carries one of these errno names. */
export function hasErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

export type CallObserver = (
  syscall: string,
  subject: string,
  values: readonly unknown[],
) => number | undefined;

let observer: CallObserver | undefined;

/**
 * Has a function called before every system call made here: how crash tests die, or take an image, at the Nth. When it returns
 * an errno, the call fails with that and is not made.
 */
export function observeCalls(observe: CallObserver | undefined): void {
  observer = observe;
}

const systemCalls = new Map<string, SystemCall>();
let close: SystemCall | undefined;

/**
 * Closes a descriptor that was opened here. After any failure but EBADF it is closed, too, and must not be closed again. Changes
 * nothing, so it is not counted. Node's own looks for a trace category by name each time, which takes longer than the closing.
 * @throws SystemError EBADF
 */
export function closeDescriptor(fd: number): void {
  close ??= systemCall('close');
  const result = close.run(close.number, fd);
  if (result === -EBADF) throw new SystemError(EBADF, 'close', String(fd));
}

/**
 * One system call. Returns what it returned; @throws SystemError when that is negative.
 * @param subject what an error message names
 */
export function call(name: SystemCallName, subject: string, ...values: unknown[]): number {
  const result = attempt(name, subject, ...values);
  if (result >= 0) return result;
  throw new SystemError(-result, name, subject);
}

/** The same where failure is an ordinary answer: returns the negated errno, and makes no error object. */
export function attempt(name: SystemCallName, subject: string, ...values: unknown[]): number {
  const failure = observer?.(name, subject, values);
  if (failure !== undefined) return -failure;
  return run(name, values);
}

function run(name: SystemCallName, values: readonly unknown[]): number {
  let known = systemCalls.get(name);
  if (!known) {
    known = systemCall(name);
    systemCalls.set(name, known);
  }
  for (;;) {
    const result = Number(known.run(known.number, ...values));
    if (result !== -EINTR) return result;
  }
}

/** The same for what only looks, many times over, at what is no part of a pool: it is not counted. */
export function look(name: SystemCallName, ...values: unknown[]): number {
  return run(name, values);
}

/** The same for a call into another library, which returns an errno or 0. */
export function attemptForeign(name: string, subject: string, run: () => number): number {
  return observer?.(name, subject, []) ?? run();
}

const absences = new Set(
  ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENODATA', 'EOPNOTSUPP', 'ERANGE', 'EACCES', 'EPERM'].map(
    (code) => constants.errno[code as keyof typeof constants.errno],
  ),
);

/**
 * What `attempt` returned, or undefined where the failure says that there is nothing of that kind, or nothing that we may see.
 * @throws SystemError on any other failure: taking a disk error for an absence, a sweep would destroy what it only failed to read
 */
export function unlessAbsent(result: number, name: string, subject: string): number | undefined {
  if (result >= 0) return result;
  if (absences.has(-result)) return undefined;
  throw new SystemError(-result, name, subject);
}
