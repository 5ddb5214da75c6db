import { createRequire } from 'node:module';

/**
 * System calls without the C library. That leaves the number of an error in `errno`, for which a second call has to ask; and between
 * the two V8 may wait for one of its own mutexes, by a call that leaves EAGAIN there: of 49 million failures in four busy threads 6
 * were told wrong. The kernel itself returns the number, negated, so it is called by a few bytes of machine code that hand that on.
 * On other processors than these two, and where nothing may be made executable, it is the C library all the same.
 */
const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const library = koffi.load('libc.so.6');

/** `long (long number, ...)`: puts up to six arguments where the kernel looks for them, and returns what it returns. */
const machineCode: Readonly<Record<string, readonly string[]>> = {
  x64: [
    'f30f1efa', // endbr64: it is called by its address
    '4889f8', // mov rax, rdi
    '4889f7', // mov rdi, rsi
    '4889d6', // mov rsi, rdx
    '4889ca', // mov rdx, rcx
    '4d89c2', // mov r10, r8
    '4d89c8', // mov r8, r9
    '4c8b4c2408', // mov r9, [rsp + 8]
    '0f05', // syscall
    'c3', // ret
  ],
  arm64: [
    '5f2403d5', // bti c: it is called by its address
    'e80300aa', // mov x8, x0
    'e00301aa', // mov x0, x1
    'e10302aa', // mov x1, x2
    'e20303aa', // mov x2, x3
    'e30304aa', // mov x3, x4
    'e40305aa', // mov x4, x5
    'e50306aa', // mov x5, x6
    '010000d4', // svc #0
    'c0035fd6', // ret
  ],
};

/** The calls with their parameters, and the numbers that the kernel gives them, for ever. */
const calls = {
  chroot: { parameters: 'const char *', x64: 161, arm64: 51 },
  close: { parameters: 'int', x64: 3, arm64: 57 },
  connect: { parameters: 'int, const void *, unsigned int', x64: 42, arm64: 203 },
  fallocate: { parameters: 'int, int, int64_t, int64_t', x64: 285, arm64: 47 },
  fchmod: { parameters: 'int, unsigned int', x64: 91, arm64: 52 },
  fchown: { parameters: 'int, unsigned int, unsigned int', x64: 93, arm64: 55 },
  fcntl: { parameters: 'int, int, long', x64: 72, arm64: 25 },
  fgetxattr: { parameters: 'int, const char *, void *, size_t', x64: 193, arm64: 10 },
  flock: { parameters: 'int, int', x64: 73, arm64: 32 },
  fremovexattr: { parameters: 'int, const char *', x64: 199, arm64: 16 },
  fsconfig: { parameters: 'int, unsigned int, const char *, const char *, int', x64: 431, arm64: 431 },
  fsetxattr: { parameters: 'int, const char *, const char *, size_t, int', x64: 190, arm64: 7 },
  fsmount: { parameters: 'int, unsigned int, unsigned int', x64: 432, arm64: 432 },
  fsopen: { parameters: 'const char *, unsigned int', x64: 430, arm64: 430 },
  fstatfs: { parameters: 'int, void *', x64: 138, arm64: 44 },
  fsync: { parameters: 'int', x64: 74, arm64: 82 },
  ftruncate: { parameters: 'int, int64_t', x64: 77, arm64: 46 },
  getrandom: { parameters: 'void *, size_t, unsigned int', x64: 318, arm64: 278 },
  getsockopt: { parameters: 'int, int, int, void *, void *', x64: 55, arm64: 209 },
  ioctl: { parameters: 'int, unsigned long, void *', x64: 16, arm64: 29 },
  lgetxattr: { parameters: 'const char *, const char *, void *, size_t', x64: 192, arm64: 9 },
  linkat: { parameters: 'int, const char *, int, const char *, int', x64: 265, arm64: 37 },
  llistxattr: { parameters: 'const char *, void *, size_t', x64: 195, arm64: 12 },
  lseek: { parameters: 'int, int64_t, int', x64: 8, arm64: 62 },
  lsetxattr: { parameters: 'const char *, const char *, const char *, size_t, int', x64: 189, arm64: 6 },
  mkdirat: { parameters: 'int, const char *, unsigned int', x64: 258, arm64: 34 },
  mount_setattr: { parameters: 'int, const char *, unsigned int, void *, size_t', x64: 442, arm64: 442 },
  move_mount: { parameters: 'int, const char *, int, const char *, unsigned int', x64: 429, arm64: 429 },
  open_tree: { parameters: 'int, const char *, unsigned int', x64: 428, arm64: 428 },
  openat2: { parameters: 'int, const char *, void *, size_t', x64: 437, arm64: 437 },
  pidfd_open: { parameters: 'int, unsigned int', x64: 434, arm64: 434 },
  pidfd_send_signal: { parameters: 'int, int, void *, unsigned int', x64: 424, arm64: 424 },
  renameat2: { parameters: 'int, const char *, int, const char *, unsigned int', x64: 316, arm64: 276 },
  rt_sigprocmask: { parameters: 'int, const void *, void *, size_t', x64: 14, arm64: 135 },
  sendto: { parameters: 'int, const void *, size_t, int, const void *, unsigned int', x64: 44, arm64: 206 },
  setresgid: { parameters: 'unsigned int, unsigned int, unsigned int', x64: 119, arm64: 149 },
  setresuid: { parameters: 'unsigned int, unsigned int, unsigned int', x64: 117, arm64: 147 },
  socket: { parameters: 'int, int, int', x64: 41, arm64: 198 },
  statx: { parameters: 'int, const char *, int, unsigned int, void *', x64: 332, arm64: 291 },
  symlinkat: { parameters: 'const char *, int, const char *', x64: 266, arm64: 36 },
  sync_file_range: { parameters: 'int, int64_t, int64_t, unsigned int', x64: 277, arm64: 84 },
  syncfs: { parameters: 'int', x64: 306, arm64: 267 },
  umount2: { parameters: 'const char *, int', x64: 166, arm64: 39 },
  unlinkat: { parameters: 'int, const char *, int', x64: 263, arm64: 35 },
  utimensat: { parameters: 'int, const char *, const void *, int', x64: 280, arm64: 88 },
} as const;

/** The same with a number where the other has an address. */
const variants = { ioctlValue: { of: 'ioctl', parameters: 'int, unsigned long, intptr_t' } } as const;

export type SystemCallName = keyof typeof calls | keyof typeof variants;

export interface SystemCall {
  /** The kernel's number of it, which is the first argument. */
  readonly number: number;
  /** Returns what the kernel does: where it fails, the errno, negated. */
  readonly run: (number: number, ...values: unknown[]) => number | bigint;
}

/** @param direct false: by the C library, also where it could do without */
export function systemCall(name: SystemCallName, direct = true): SystemCall {
  const { of, parameters } = name === 'ioctlValue' ? variants[name] : { of: name, ...calls[name] };
  const address = direct ? executable() : undefined;
  if (address === undefined) return { number: 0, run: throughLibrary(of, parameters) };
  const type = koffi.proto('long', ['long', ...parameters.split(', ')]);
  return {
    number: process.arch === 'x64' ? calls[of].x64 : calls[of].arm64,
    run: koffi.decode(address, type) as SystemCall['run'],
  };
}

export const systemCallNames = [...Object.keys(calls), 'ioctlValue'] as readonly SystemCallName[];

let made: { readonly address: bigint | undefined } | undefined;

/** Where the machine code is, in memory of its own that nobody can write to any more; undefined where there is none. */
function executable(): bigint | undefined {
  made ??= { address: makeExecutable() };
  return made.address;
}

function makeExecutable(): bigint | undefined {
  const code = machineCode[process.arch];
  if (!code) return undefined;
  const [page, readExecute] = [4096, 5];
  const protect = library.func('int mprotect(void *, size_t, int)');
  const address = mapMemory(page);
  if (address === undefined) return undefined;
  new Uint8Array(koffi.view(address, page)).set(Buffer.from(code.join(''), 'hex'));
  // Some hosts allow no process to make its own code; then V8 does without, too.
  return protect(address, page, readExecute) === 0 ? address : undefined;
}

export interface FixedMemory {
  readonly address: bigint;
  readonly bytes: Buffer;
}

/** Memory that never moves, and is there as long as the process, for calls that are given a place to write to inside of what they read. */
export function fixedMemory(bytes: number): FixedMemory {
  const address = mapMemory(bytes);
  if (address === undefined) throw new Error(`There are no ${bytes} bytes of memory.`);
  return { address, bytes: Buffer.from(koffi.view(address, bytes)) };
}

function mapMemory(bytes: number): bigint | undefined {
  const [readWrite, privateAndAnonymous] = [3, 0x22];
  const map = library.func('void *mmap(void *, size_t, int, int, int, int64_t)');
  const address = map(null, bytes, readWrite, privateAndAnonymous, -1, 0) as bigint | null;
  const failed = 0xffff_ffff_ffff_ffffn;
  return address === null || BigInt.asUintN(64, address) === failed ? undefined : address;
}

/**
 * Not in the C library, or only in a new one; or meaning something else there, which changes the user of all threads. The numbers of
 * the new ones are the same on all processors.
 */
const unnamed: readonly string[] = [
  'openat2',
  'fsopen',
  'fsconfig',
  'fsmount',
  'mount_setattr',
  'move_mount',
  'open_tree',
  'pidfd_open',
  'pidfd_send_signal',
  'setresgid',
  'setresuid',
];
/** Those that return more than an int. */
const long: readonly string[] = ['fgetxattr', 'lgetxattr', 'llistxattr', 'getrandom', 'sendto', 'lseek'];

/** What other processors have to do with. Its errno may be another one by the time it is read. */
function throughLibrary(name: keyof typeof calls, parameters: string): SystemCall['run'] {
  const definition = unnamed.includes(name)
    ? `long syscall(long, ${parameters})`
    : `${long.includes(name) ? 'long' : 'int'} ${name}(${parameters})`;
  const native = library.func(definition) as unknown as (...values: unknown[]) => number | bigint;
  return (_, ...values) => {
    const number = process.arch === 'arm64' ? calls[name].arm64 : calls[name].x64;
    const result = unnamed.includes(name) ? native(number, ...values) : native(...values);
    return result < 0 ? -errnoLeft() : result;
  };
}

/** The errno that the last call into a library has left, unless something else has left another since. */
export function errnoLeft(): number {
  return koffi.errno();
}
