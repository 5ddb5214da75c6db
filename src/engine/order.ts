/**
 * Locks of several volumes are always taken in the order of their names, so that two operations never wait for each other.
 * Returns each reference once. "@" comes after digits and "-": compared as they are, dd-10 would lie between dd-1 and dd-1@s,
 * which have one lock.
 */
export function inLockOrder(references: Iterable<string>): string[] {
  const keyOf = (reference: string): string => reference.replace('@', '\0');
  return [...new Set(references)].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}
