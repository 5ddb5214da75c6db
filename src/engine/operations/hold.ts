import type { Held } from '../../drivers/driver.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Hold, SnapshotMetadata } from '../../model/metadata.ts';
import { parseSnapshotReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { holdSnapshot, holdVolume } from '../holding.ts';
import { inLockOrder } from '../order.ts';
import { timestamp } from '../timestamp.ts';

export interface HoldOptions {
  /** Why, for whoever finds it: one line, at most 200 characters. */
  readonly reason?: string;
}

export interface HeldSnapshot {
  /** `VOLUME@NAME`. */
  readonly reference: string;
  /** Absent: it is held no more. */
  readonly hold?: Hold;
  /** It was so before. */
  readonly unchanged?: true;
}

const longestReason = 200;

/**
 * Has snapshots stay: no policy removes them, and nobody else does before they are released. One that is held already keeps its time, and
 * its reason unless another is given. All are looked at before anything is written.
 */
export function hold(
  context: Context,
  references: readonly string[],
  { reason }: HoldOptions = {},
): HeldSnapshot[] {
  if (reason !== undefined && (reason === '' || reason.length > longestReason || /\p{C}/u.test(reason)))
    throw new CoppiceError(
      'invalid_argument',
      `The reason of a hold is one line of 1 to ${longestReason} characters.`,
    );
  return marking(context, references, (metadata) => ({
    ...metadata,
    hold: { at: timestamp(), ...metadata.hold, ...(reason !== undefined && { reason }) },
  }));
}

/** Lets snapshots go again. One that is not held stays as it is. */
export function release(context: Context, references: readonly string[]): HeldSnapshot[] {
  return marking(context, references, ({ hold: _, ...metadata }) => metadata);
}

function marking(
  context: Context,
  references: readonly string[],
  mark: (metadata: SnapshotMetadata) => SnapshotMetadata,
): HeldSnapshot[] {
  using locks = new DisposableStack();
  const members = inLockOrder(references).map((reference) => find(context, reference, locks));
  return members.map(({ reference, held, metadata }) => {
    const after = mark(metadata);
    const isSame = JSON.stringify(after.hold) === JSON.stringify(metadata.hold);
    if (!isSame) context.driver.write(held, after);
    return { reference, ...(after.hold && { hold: after.hold }), ...(isSame && { unchanged: true }) };
  });
}

interface Member {
  readonly reference: string;
  readonly held: Held;
  readonly metadata: SnapshotMetadata;
}

function find(context: Context, reference: string, locks: DisposableStack): Member {
  const { volume: name, snapshot } = parseSnapshotReference(reference);
  const volume = locks.use(holdVolume(context, name, 'shared'));
  const held = locks.use(holdSnapshot(context, volume, snapshot, 'exclusive'));
  const metadata = context.driver.read(held);
  if (metadata?.type === 'snapshot') return { reference, held, metadata };
  throw new CoppiceError(
    'damaged',
    `${reference} was not made by Coppice, or its metadata is gone; "coppice pool check" says more.`,
  );
}
