import { clearDeadRuns } from './run-directory.ts';

export default function setup(): void {
  for (const path of clearDeadRuns()) console.log(`cleared what a killed test run left: ${path}`);
}
