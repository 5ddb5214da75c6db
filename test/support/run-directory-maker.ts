/** Many test runs in turn, the last of which lives until it is killed: prints how many lost their directory, and the last one's. */
import { existsSync } from 'node:fs';
import { removeRunDirectory, runDirectory } from './run-directory.ts';

let lost = 0;
for (let run = 0; run < 100; run++) {
  if (!existsSync(runDirectory())) lost++;
  removeRunDirectory();
}
console.log(`${lost} ${runDirectory()}`);
process.stdin.resume();
