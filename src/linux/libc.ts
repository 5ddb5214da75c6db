import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';

/**
 * The C library, called synchronously: 0.2 us over the bare call, errno kept. Loaded on first import (14 ms), so only code that
 * really talks to a pool imports this. Everything that changes a pool goes through `call`, where a test can count it.
 */
const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const library = koffi.load('libc.so.6');

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

export type CallObserver = (syscall: string, subject: string) => number | undefined;

let observer: CallObserver | undefined;

/**
 * Has a function called before every system call made here: how crash tests die, or take an image, at the Nth. When it returns
 * an errno, the call fails with that and is not made.
 */
export function observeCalls(observe: CallObserver | undefined): void {
  observer = observe;
}

type Native = (...values: unknown[]) => number;

const natives = new Map<string, Native>();

const prototypes = {
  openat2: 'long syscall(long, int, const char *, void *, size_t)',
  fsopen: 'long syscall(long, const char *, unsigned int)',
  fsconfig: 'long syscall(long, int, unsigned int, const char *, const char *, int)',
  fsmount: 'long syscall(long, int, unsigned int, unsigned int)',
  mkdirat: 'int mkdirat(int, const char *, unsigned int)',
  linkat: 'int linkat(int, const char *, int, const char *, int)',
  unlinkat: 'int unlinkat(int, const char *, int)',
  renameat2: 'int renameat2(int, const char *, int, const char *, unsigned int)',
  statx: 'int statx(int, const char *, int, unsigned int, void *)',
  fstatfs: 'int fstatfs(int, void *)',
  fgetxattr: 'long fgetxattr(int, const char *, void *, size_t)',
  lgetxattr: 'long lgetxattr(const char *, const char *, void *, size_t)',
  fsetxattr: 'int fsetxattr(int, const char *, const char *, size_t, int)',
  lsetxattr: 'int lsetxattr(const char *, const char *, const char *, size_t, int)',
  fremovexattr: 'int fremovexattr(int, const char *)',
  getrandom: 'long getrandom(void *, size_t, unsigned int)',
  socket: 'int socket(int, int, int)',
  getsockopt: 'int getsockopt(int, int, int, void *, void *)',
  sendto: 'long sendto(int, const void *, size_t, int, const void *, unsigned int)',
  flock: 'int flock(int, int)',
  fcntl: 'int fcntl(int, int, int)',
  fsync: 'int fsync(int)',
  syncfs: 'int syncfs(int)',
  umount2: 'int umount2(const char *, int)',
  futimens: 'int futimens(int, const void *)',
  sync_file_range: 'int sync_file_range(int, int64_t, int64_t, unsigned int)',
  ftruncate: 'int ftruncate(int, int64_t)',
  fallocate: 'int fallocate(int, int, int64_t, int64_t)',
  lseek: 'int64_t lseek(int, int64_t, int)',
  ioctl: 'int ioctl(int, unsigned long, void *)',
  ioctlValue: 'int ioctl(int, unsigned long, intptr_t)',
} as const;

let nativeClose: Native | undefined;

/**
 * Closes a descriptor that was opened here. After any failure but EBADF it is closed, too, and must not be closed again. Changes
 * nothing, so it is not counted. Node's own looks for a trace category by name each time, which takes longer than the closing.
 * @throws SystemError EBADF
 */
export function closeDescriptor(fd: number): void {
  nativeClose ??= library.func('int close(int)') as unknown as Native;
  if (nativeClose(fd) >= 0) return;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['EBADF']) throw new SystemError(errno, 'close', String(fd));
}

/**
 * One system call. Returns what it returned; @throws SystemError when that is negative.
 * @param subject what an error message names
 */
export function call(name: keyof typeof prototypes, subject: string, ...values: unknown[]): number {
  const result = attempt(name, subject, ...values);
  if (result >= 0) return result;
  throw new SystemError(-result, name, subject);
}

/** The same where failure is an ordinary answer: returns the negated errno, and makes no error object. */
export function attempt(name: keyof typeof prototypes, subject: string, ...values: unknown[]): number {
  const failure = observer?.(name, subject);
  if (failure !== undefined) return -failure;
  let native = natives.get(name);
  if (!native) {
    native = library.func(prototypes[name]) as unknown as Native;
    natives.set(name, native);
  }
  for (;;) {
    const result = Number(native(...values));
    if (result >= 0) return result;
    const errno = koffi.errno();
    if (errno !== koffi.os.errno['EINTR']) return -errno;
  }
}

/** The same for a call into another library, which returns an errno or 0. */
export function attemptForeign(name: string, subject: string, run: () => number): number {
  return observer?.(name, subject) ?? run();
}

/** What the last call into a library that returns no errno itself has left. */
export function lastErrno(): number {
  return koffi.errno();
}

const absences = new Set(
  ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENODATA', 'EOPNOTSUPP', 'ERANGE', 'EACCES', 'EPERM'].map(
    (code) => koffi.os.errno[code],
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
