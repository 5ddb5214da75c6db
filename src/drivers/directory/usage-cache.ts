import { readAttribute, writeAttribute } from '../../linux/attributes.ts';
import type { CachedUsage } from '../driver.ts';

/** An attribute of its own, beside the metadata: it can be deleted at any time and is only an answer from the past. */
export const usageAttribute = 'user.coppice.usage';

export function recallUsage(entry: number): CachedUsage | undefined {
  return parseUsage(readAttribute(entry, usageAttribute));
}

export function parseUsage(bytes: Buffer | undefined): CachedUsage | undefined {
  const match = bytes && /^(\d+) (\S+)$/.exec(bytes.toString());
  return match?.[1] !== undefined && match[2] !== undefined
    ? { exclusiveBytes: Number(match[1]), at: match[2] }
    : undefined;
}

export function rememberUsage(entry: number, usage: CachedUsage): void {
  writeAttribute(entry, usageAttribute, `${usage.exclusiveBytes} ${usage.at}`);
}
