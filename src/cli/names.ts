/** What fits into a sentence. */
const most = 10;

/** Names in a sentence: of many, how many they are and the first; `--json` has all. */
export function named(names: readonly string[]): string {
  if (names.length <= most) return names.join(', ');
  return `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}

/** The same for the end of a sentence where each of them counts: many get a line each. */
export function eachNamed(names: readonly string[]): string {
  if (names.length > most) return `${names.length}:\n  ${names.join('\n  ')}`;
  return `${names.join(', ') || 'nothing'}.`;
}
