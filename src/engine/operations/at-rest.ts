import type { Rest } from '../../consistency/rest.ts';
import { blockedBy } from '../../model/errors.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import { holderBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import type { WithParts } from '../parts.ts';
import { reached } from '../reached.ts';
import { levelOf, purposeOf, type Said } from '../taking.ts';
import type { SnapshotOptions } from './snapshot.ts';
import type { Member, SnapshotGroup } from './snapshot-together.ts';

/** A group, or what there is of one when there is one volume, which needs none. */
export interface TakenAtRest extends Omit<SnapshotGroup, 'group'> {
  readonly group?: string;
  /** Milliseconds from before the first application was held until after the last was let go. */
  readonly heldMilliseconds: number;
}

/** Snapshots that are being taken while applications hold still. */
export interface Work {
  readonly context: Context;
  readonly parts: WithParts;
  readonly references: readonly string[];
  readonly members: readonly Member[];
  readonly options: SnapshotOptions;
  readonly rest: Rest;
}

/** The applications have not held still: of all that can go wrong only this may be answered by a weaker snapshot. */
export class NotAtRest extends Error {
  constructor(cause: unknown) {
    super('The applications have not held still.', { cause });
  }
}

/** @throws NotAtRest */
export async function resting<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw new NotAtRest(error);
  }
}

export async function holdAll(work: Work): Promise<void> {
  await work.rest.hold();
  requireStopped(work);
}

/** What stops an application has only said that it has. @throws CoppiceError blocked */
function requireStopped({ context, members, options }: Work): void {
  for (const { volume } of members) {
    if (levelOf(volume.metadata, options) !== 'cold') continue;
    const { holders } = context.driver.holders([volume.held]);
    if (holders.length === 0) continue;
    throw blockedBy(
      `${volume.name} was to be stopped, and is still in use`,
      holderBlockers({ holders: holders.map((holder) => ({ ...holder, isFirm: true })), complete: true }),
    );
  }
}

/** What each snapshot says of itself. */
export function sayer(
  { options, members, parts }: Work,
  states: ReadonlyArray<ApplicationState & { readonly volume: string }>,
): (member: Member) => Said {
  const said = reached(
    members.map(({ volume }) => volume),
    states,
    parts,
    options,
  );
  return ({ volume }) => said.get(volume.name) ?? { consistency: 'sync', ...purposeOf(options) };
}
