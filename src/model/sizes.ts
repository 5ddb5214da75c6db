import { CoppiceError } from './errors.ts';

/**
 * Sizes are bytes in a JavaScript number that is a safe integer: up to 8 PiB, exact, and the same in JSON.
 * A block volume's size is a multiple of this unit, the sector size of btrfs and the page size.
 */
export const sizeUnit = 4096;

const largest = 2 ** 53 - sizeUnit;
const powers = 'KMGTP';

/**
 * Reads a size as coreutils does: `10G` and `10GiB` are powers of 1024, `10GB` is powers of 1000, a bare number is bytes.
 * @throws CoppiceError invalid_argument
 */
export function parseSize(text: string): number {
  const match = typeof text === 'string' && /^(\d+(?:\.\d+)?)(?:([KMGTP])(iB|B)?|B)?$/i.exec(text.trim());
  if (!match) throw invalidSize(String(text), 'write a number with a unit, like 512M, 10G or 1.5T');
  const power = match[2] ? powers.indexOf(match[2].toUpperCase()) + 1 : 0;
  const base = match[3]?.toUpperCase() === 'B' ? 1000 : 1024;
  const bytes = Number(match[1]) * base ** power;
  if (bytes > largest) throw invalidSize(text, 'the largest size is just under 8 PiB');
  return Math.ceil(bytes);
}

/** Checks a size that came as a number. @throws CoppiceError invalid_argument */
export function checkSize(bytes: number): number {
  if (Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= largest) return bytes;
  throw invalidSize(String(bytes), 'sizes are whole bytes from 0 to just under 8 PiB');
}

/** The size that a volume really gets: rounded up to the unit of its pool, and never nothing. */
export function roundSize(bytes: number, unit: number = sizeUnit): number {
  return Math.max(unit, Math.ceil(bytes / unit) * unit);
}

/** Bytes for a person: three significant digits, binary units. */
export function formatSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes;
  let power = 0;
  while (value >= 1023.5 && power < powers.length) {
    value /= 1024;
    power++;
  }
  return `${value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2)} ${powers[power - 1]}iB`;
}

function invalidSize(text: string, remedy: string): CoppiceError {
  return new CoppiceError('invalid_argument', `"${text}" is not a valid size: ${remedy}.`);
}
