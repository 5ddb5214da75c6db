import type { PayloadState } from '../drivers/driver.ts';
import { payloadIdOf, type VolumeMetadata } from '../model/metadata.ts';

/** What was changed behind Coppice's back, one sentence each. It is reported, and never "repaired". */
export function problemsOf(
  name: string,
  metadata: VolumeMetadata,
  state: PayloadState | undefined,
): string[] {
  if (!state) return [`The disk of ${name} is gone; if it has a snapshot, roll back to it.`];
  const problems: string[] = [];
  if (state.identity !== payloadIdOf(metadata)) {
    problems.push(
      `The data of ${name} was not made for it: it says it belongs to ${state.identity ?? 'nobody'}; somebody has put it there.`,
    );
  }
  if (metadata.sealed && !state.readOnly) {
    problems.push(`The template ${name} has been made writable; clones of it may differ from one another.`);
  }
  if (metadata.sealed && state.changedIn !== metadata.sealed.generation) {
    problems.push(
      `The template ${name} has changed since it was sealed; import it again under another name.`,
    );
  }
  return problems;
}
