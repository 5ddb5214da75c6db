import { call } from './libc.ts';

const pool = Buffer.alloc(1024);
let used = pool.length;

/**
 * A random UUID (version 4, RFC 9562), from the kernel's random numbers. Node's own crypto module takes 3 ms to load, which a
 * short-lived command would pay for nothing else.
 */
export function randomId(): string {
  if (used >= pool.length) {
    call('getrandom', 'random numbers', pool, pool.length, 0);
    used = 0;
  }
  const bytes = pool.subarray(used, used + 16);
  used += 16;
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return formatUuid(bytes);
}

/** Sixteen bytes in the usual notation. */
export function formatUuid(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
