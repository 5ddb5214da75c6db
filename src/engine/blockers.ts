import type { Held, Holders, MountedPart } from '../drivers/driver.ts';
import type { Blocker } from '../model/errors.ts';
import type { TreePlace } from '../model/tree-place.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';

/** What is mounted on a volume would be cut off with it. No force helps: the kernel would unmount it without a word. */
export function mountBlockers(context: Context, held: readonly Held[]): Blocker[] {
  const recorded = held.flatMap((each) => placeOf(context, each));
  const others = context.driver
    .mounts(held)
    .filter(({ path }) => !recorded.some(({ at }) => at.path === path));
  return [...recorded.map(placeBlocker), ...blockersOf(others)];
}

/** What is recorded to be somewhere on the host alone. */
export function placeBlockers(context: Context, held: readonly Held[]): Blocker[] {
  return held.flatMap((each) => placeOf(context, each)).map(placeBlocker);
}

interface Recorded {
  readonly name: string;
  readonly at: TreePlace;
}

function placeOf(context: Context, held: Held): Recorded[] {
  if (held.place.area !== 'volumes') return [];
  const metadata = context.driver.read(held);
  return metadata?.type === 'volume' && metadata.at ? [{ name: held.place.name, at: metadata.at }] : [];
}

/** What is to be somewhere on the host would be missed there. */
function placeBlocker({ name, at: { path, how, original } }: Recorded): Blocker {
  const adopt = '"coppice adopt --kind tree';
  const remedy =
    original === undefined
      ? `take it from there with "coppice unmount ${name}"`
      : `put the directory back that it was adopted from with ${adopt} --undo ${path}"`;
  return { kind: 'mounted', what: `${name} is ${how === 'link' ? 'linked' : 'mounted'} at ${path}`, remedy };
}

/** The same for what puts another tree in the place of one: where that can be, mounts of it follow. */
export function stuckMountBlockers(context: Context, held: readonly Held[]): Blocker[] {
  const mounts = context.driver.mounts(held);
  return blockersOf(context.driver.switchMounts ? mounts.filter((mount) => !mount.isSwitched) : mounts);
}

function blockersOf(mounts: readonly MountedPart[]): Blocker[] {
  return mounts.map(({ path, source }) => ({
    kind: 'mounted',
    what: `${source} is mounted on ${path}`,
    remedy: `unmount it with "umount ${path}"`,
  }));
}

/** What somebody else has made in what goes would go with it. No force helps. */
export function othersBlockers(context: Context, held: readonly Held[]): Blocker[] {
  return held.flatMap((each) =>
    (context.driver.othersIn?.(each) ?? []).map((what) => ({
      kind: 'volumes',
      what: `${what} is in ${context.driver.label(each.place)} and was not made by Coppice`,
      remedy: 'move it away or destroy it by the tools that made it',
    })),
  );
}

/** Why these disks can't be replaced or removed now: whoever has one open, and whoever can't be seen. */
export function openBlockers(context: Context, held: readonly Held[]): Blocker[] {
  return holderBlockers(context.driver.holders(held));
}

/**
 * Why what a volume has can't be replaced now. A disk's user goes on with the replaced one, if that is forced. Of a tree he would open
 * some files by their names, in the new state, and have others open of the old one: no force makes that good.
 */
export function replacingBlockers(
  context: Context,
  { metadata }: Pick<HeldVolume, 'metadata'>,
  held: Held,
  force: boolean,
): Blocker[] {
  if (metadata.kind === 'block') return force ? [] : openBlockers(context, [held]);
  const { holders, complete } = context.driver.holders([held]);
  return holderBlockers({
    holders: holders.map((holder) => ({ ...holder, isFirm: true })),
    complete: complete || force,
  });
}

const orForce = ', or use --force';

export function holderBlockers({ holders, complete }: Holders): Blocker[] {
  const blockers: Blocker[] = holders.map((holder) => ({
    kind: 'open',
    what: `${holder.path} is open in ${holder.pid === undefined ? holder.command : `process ${holder.pid} (${holder.command})`}`,
    remedy: `${holder.pid === undefined ? 'detach it' : 'stop it'}${holder.isFirm ? '' : orForce}`,
  }));
  if (!complete) {
    blockers.push({
      kind: 'unknown_holders',
      what: "a process that can't be looked into from here has the disk open, or may have",
      remedy: `stop what uses it, or look again as root${orForce}`,
    });
  }
  return blockers;
}
