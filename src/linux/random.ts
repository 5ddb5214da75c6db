import { call } from './system-calls.ts';

const bytes = Buffer.alloc(1024);
/** The same bytes as hexadecimal digits, of which the first so many are used up. */
let digits = '';
let used = 0;

/**
 * A random UUID (version 4, RFC 9562), from the kernel's random numbers. Node's own crypto module takes 3 ms to load, which a
 * short-lived command would pay for nothing else.
 */
export function randomId(): string {
  if (used >= digits.length) {
    const got = call('getrandom', 'random numbers', bytes, bytes.length, 0);
    if (got !== bytes.length) throw new Error(`The kernel gave ${got} random bytes of ${bytes.length}.`);
    // All at once: a buffer and a call into C++ for each would take longer than the id.
    for (let at = 0; at < bytes.length; at += 16) {
      bytes[at + 6] = ((bytes[at + 6] ?? 0) & 0x0f) | 0x40;
      bytes[at + 8] = ((bytes[at + 8] ?? 0) & 0x3f) | 0x80;
    }
    digits = bytes.toString('hex');
    used = 0;
  }
  used += 32;
  return withDashes(digits, used - 32);
}

/** Sixteen bytes in the usual notation. */
export function formatUuid(sixteen: Buffer): string {
  return withDashes(sixteen.toString('hex'), 0);
}

function withDashes(hex: string, at: number): string {
  const part = (from: number, to: number): string => hex.slice(at + from, at + to);
  return `${part(0, 8)}-${part(8, 12)}-${part(12, 16)}-${part(16, 20)}-${part(20, 32)}`;
}
