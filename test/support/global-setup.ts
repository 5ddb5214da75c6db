import { commandOf, end, markedProcesses, markRun } from './marks.ts';
import { clearDeadRuns } from './run-directory.ts';

/** Returns what is to be done when all tests have ended. */
export default function setup(): () => void {
  for (const path of clearDeadRuns()) console.log(`cleared what a killed test run left: ${path}`);
  markRun();
  return endWhatIsLeft;
}

/** Each file has ended what it left, but not one whose process has died; and what is left may keep this process from ending. */
function endWhatIsLeft(): void {
  // Those that run the tests are ended by who has started them.
  const left = markedProcesses().filter(({ parent }) => parent !== process.pid);
  const lines = left.map(({ pid }) => `${pid} ${commandOf(pid)}`);
  for (const { pid } of left) end(pid);
  if (lines.length > 0) throw new Error(`processes were left behind by the tests:\n${lines.join('\n')}`);
}
