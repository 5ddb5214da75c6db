/** The flags before the command, with their values: `--pool PATH` of `--pool PATH list`. */
export function leadingFlags(words: readonly string[]): readonly string[] {
  let count = 0;
  while (words[count] === '--json' || words[count] === '--pool' || words[count]?.startsWith('--pool=')) {
    count += words[count] === '--pool' ? 2 : 1;
  }
  return words.slice(0, count);
}
