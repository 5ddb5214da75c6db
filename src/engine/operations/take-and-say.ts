import type { Driver } from '../../drivers/driver.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { SnapshotMetadata } from '../../model/metadata.ts';
import { parseReference } from '../../model/names.ts';
import { holdSnapshot } from '../holding.ts';
import { purposeOf, type Said, type Snapshotted, summarize } from '../taking.ts';
import { holdAll, NotAtRest, resting, sayer, type TakenAtRest, type Work } from './at-rest.ts';
import { type Member, takeWithoutGroup } from './snapshot-together.ts';

/** Where the storage takes and names them in one step, they say no more than `sync` until the applications have said that they held. */
export async function takeAndSay(
  work: Work,
  take: NonNullable<Driver['snapshotTogether']>,
): Promise<TakenAtRest> {
  const { context, references, members, rest, options } = work;
  const purpose = purposeOf(options);
  await resting(() => holdAll(work));
  const group = takeWithoutGroup(
    context,
    take,
    references,
    members,
    () => ({ consistency: 'sync', ...purpose }),
    { frozenUntil: rest.until },
  );
  try {
    const states = await resting(async () => {
      await rest.release();
      return await rest.finish(() => ({}));
    });
    const saidOf = sayer(work, states);
    const snapshots = group.snapshots.map((each) => say(work, each, saidOf));
    return { ...group, snapshots, heldMilliseconds: rest.heldMilliseconds };
  } catch (error) {
    throw withoutThem(work, group.snapshots, error);
  }
}

function memberOf({ members }: Work, { volume }: Snapshotted): Member {
  return members.find((member) => member.volume.name === volume) as Member;
}

function say(work: Work, taken: Snapshotted, saidOf: (member: Member) => Said): Snapshotted {
  const { context } = work;
  const member = memberOf(work, taken);
  const name = parseReference(taken.reference).snapshot;
  if (!name) return taken;
  using held = holdSnapshot(context, member.volume, name, 'exclusive');
  const known = context.driver.read(held);
  const metadata = { ...known, ...saidOf(member) } as SnapshotMetadata;
  context.driver.write(held, metadata);
  return summarize(member.volume, name, metadata);
}

/** What does not hold what it was asked for is not to be found under its name. Returns the error, which tells what could not be removed. */
function withoutThem(work: Work, taken: readonly Snapshotted[], error: unknown): unknown {
  const left = taken.filter((each) => !isDestroyed(work, each)).map(({ reference }) => reference);
  if (left.length === 0) return error;
  const { message, code } =
    error instanceof NotAtRest && error.cause instanceof CoppiceError ? error.cause : asFailure(error);
  return new CoppiceError(
    code,
    `${message} It is left behind, and holds no more than what was written: remove ${left.join(', ')}.`,
    { cause: error },
  );
}

function asFailure(error: unknown): { readonly code: 'io_error'; readonly message: string } {
  return { code: 'io_error', message: error instanceof Error ? error.message : String(error) };
}

function isDestroyed(work: Work, taken: Snapshotted): boolean {
  const name = parseReference(taken.reference).snapshot;
  if (!name) return true;
  try {
    using held = holdSnapshot(work.context, memberOf(work, taken).volume, name, 'exclusive');
    work.context.driver.discard(held);
    return true;
  } catch (error) {
    return error instanceof CoppiceError && error.code === 'not_found';
  }
}
