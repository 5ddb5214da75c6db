import type { Held, PayloadState } from '../drivers/driver.ts';
import { payloadIdOf, type VolumeMetadata } from '../model/metadata.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';
import { standsInTheWay } from './failures.ts';
import type { HeldVolume } from './holding.ts';

/** What was changed behind Coppice's back, one sentence each. It is reported, and never refused or "repaired". */
export function problemsOf(
  name: string,
  metadata: VolumeMetadata,
  state: PayloadState | undefined,
): string[] {
  if (!state) return [`The disk of ${name} is gone; if it has a snapshot, roll back to it.`];
  const problems = foreignData(name, metadata, state);
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

interface Problem {
  /** `VOLUME@SNAPSHOT`. */
  readonly reference: string;
  readonly message: string;
}

/** The same of all snapshots of a volume, but for those that somebody is removing. */
export function problemsOfSnapshots(
  context: Context,
  volume: Pick<HeldVolume, 'name' | 'metadata' | 'held'>,
): Problem[] {
  return context.driver.listSnapshots(volume.name).flatMap((record) => {
    const reference = `${volume.name}@${record.name}`;
    const foreign = `${reference} was not made by Coppice.`;
    try {
      const place = { area: 'snapshots', volume: volume.held, name: record.name as Name } as const;
      const held = context.driver.hold(place, 'shared', false);
      if (typeof held === 'string') return [];
      using snapshot = held;
      const messages = problemsOfSnapshot(context, volume, reference, snapshot);
      return messages.map((message) => ({ reference, message }));
    } catch (error) {
      if (standsInTheWay(error)) return [{ reference, message: foreign }];
      throw error;
    }
  });
}

/** The same of one snapshot that is held. */
export function problemsOfSnapshot(
  context: Context,
  volume: Pick<HeldVolume, 'metadata'>,
  reference: string,
  held: Held,
): string[] {
  const metadata = context.driver.read(held);
  const state = context.driver.inspect(held);
  if (!state || metadata?.type !== 'snapshot')
    return [`${reference} was not made by Coppice, or its data or metadata is gone.`];
  const problems = foreignData(reference, volume.metadata, state);
  if (!state.readOnly) problems.push(`The snapshot ${reference} has been made writable.`);
  // Its metadata names the transaction that made its data; no later one can have changed that.
  if (state.createdIn !== metadata.generation || BigInt(state.changedIn) > BigInt(state.createdIn))
    problems.push(
      `The snapshot ${reference} has changed since it was taken; what it holds now is what somebody has put there.`,
    );
  return problems;
}

function foreignData(label: string, metadata: VolumeMetadata, state: PayloadState): string[] {
  if (state.identity === payloadIdOf(metadata)) return [];
  return [
    `The data of ${label} was not made for it: it says it belongs to ${state.identity ?? 'nobody'}; somebody has put it there.`,
  ];
}
