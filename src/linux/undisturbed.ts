import { look } from './system-calls.ts';

const SIG_SETMASK = 2;

/** Of the kernel, a bit for each signal. */
const maskBytes = 8n;

/** All but the two by which the C library changes the rights of all threads: nobody else sends them, and who does waits for every thread. */
const all = Buffer.alloc(Number(maskBytes));
all.writeBigUInt64LE(0xffff_fffe_7fff_ffffn);

/**
 * Calls something that the kernel would break off half way when a signal comes, as ZFS does when it lists snapshots or runs a program,
 * with some of it done. What comes meanwhile is for another thread, or for this one afterwards.
 */
export function undisturbed<T>(run: () => T): T {
  const before = Buffer.alloc(Number(maskBytes));
  look('rt_sigprocmask', SIG_SETMASK, all, before, maskBytes);
  try {
    return run();
  } finally {
    look('rt_sigprocmask', SIG_SETMASK, before, null, maskBytes);
  }
}
