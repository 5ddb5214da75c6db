import type { Counted } from './exclusive.ts';
import { look, type Properties, properties, sizeIfAny } from './look.ts';

/** What ZFS says about the snapshots of datasets and what was cloned from them, asked as in look.ts. */

export interface SnapshotState {
  readonly name: string;
  /** It goes when its last clone goes, and is there for nobody. */
  readonly deferred: boolean;
}

export function snapshotsOn(zpool: string, dataset: string): readonly SnapshotState[] {
  const program = `
local result = {}
local arguments = ...
if zfs.exists(arguments.dataset) then
  for name in zfs.list.snapshots(arguments.dataset) do
    result[name] = (zfs.get_prop(name, "defer_destroy"))
  end
end
return result`;
  const found = look(zpool, program, { dataset }, dataset) as Record<string, string> | undefined;
  return Object.entries(found ?? {}).map(([name, deferred]) => ({ name, deferred: deferred === 'on' }));
}

/** Of some of the datasets below one, how many have a snapshot: between 0 and 1. */
export function shareWithSnapshots(zpool: string, parent: string): number {
  const program = `
local arguments = ...
local looked, found = 0, 0
if zfs.exists(arguments.parent) then
  -- In the order of hashes of their names, so that the first are a fair sample.
  for child in zfs.list.children(arguments.parent) do
    if looked == 16 then break end
    looked = looked + 1
    for snapshot in zfs.list.snapshots(child) do
      found = found + 1
      break
    end
  end
end
return { looked = looked, found = found }`;
  const { looked, found } = look(zpool, program, { parent }, parent) as { looked: number; found: number };
  return looked === 0 ? 0 : found / looked;
}

export interface FoundSnapshot {
  readonly name: string;
  readonly values: Readonly<Record<string, string>>;
  readonly properties: Properties;
  readonly hasClones: boolean;
}

/** The snapshots of datasets that were not removed, each with the values of some properties and with its own user properties. */
export function snapshotsWith(
  zpool: string,
  datasets: readonly string[],
  wanted: readonly string[],
): readonly FoundSnapshot[] {
  const program = `${properties}${sizeIfAny}
local result = {}
local arguments = ...
for dataset in pairs(arguments.datasets) do
  if zfs.exists(dataset) then
    for name in zfs.list.snapshots(dataset) do
      if not string.find(name, "@coppice:", 1, true) and (zfs.get_prop(name, "defer_destroy")) ~= "on" then
        local values = {}
        for key in pairs(arguments.wanted) do
          local value = get(name, key)
          if value ~= nil then values[key] = tostring(value) end
        end
        local hasClones = false
        for clone in zfs.list.clones(name) do hasClones = true end
        result[name] = { values = values, properties = properties(name), hasClones = hasClones }
      end
    end
  end
end
return result`;
  const found = look(zpool, program, { datasets, wanted }, datasets.join(', ')) as
    | Record<string, Omit<FoundSnapshot, 'name'>>
    | undefined;
  return Object.entries(found ?? {}).map(([name, each]) => ({ name, ...each }));
}

/** What ZFS counts for a dataset and for each of its snapshots; undefined where there is none. */
export function countedAt(zpool: string, dataset: string): Counted | undefined {
  const program = `
local arguments = ...
local name = arguments.dataset
if not zfs.exists(name) then return nil end
local snapshots = {}
for snapshot in zfs.list.snapshots(name) do
  local clones = {}
  for clone in zfs.list.clones(snapshot) do clones[clone] = true end
  snapshots[snapshot] = {
    used = tostring(zfs.get_prop(snapshot, "used")),
    deferred = (zfs.get_prop(snapshot, "defer_destroy")),
    clones = clones,
  }
end
return {
  used = tostring(zfs.get_prop(name, "used")),
  written = tostring(zfs.get_prop(name, "written")),
  origin = zfs.get_prop(name, "origin") or "",
  snapshots = snapshots,
}`;
  const found = look(zpool, program, { dataset }, dataset) as
    | {
        readonly used: string;
        readonly written: string;
        readonly origin: string;
        readonly snapshots: Readonly<
          Record<string, { readonly used: string; readonly deferred: string; readonly clones: object }>
        >;
      }
    | undefined;
  return (
    found && {
      used: Number(found.used),
      written: Number(found.written),
      origin: found.origin,
      snapshots: Object.entries(found.snapshots).map(([name, { used, deferred, clones }]) => ({
        name,
        used: Number(used),
        deferred: deferred === 'on',
        clones: Object.keys(clones),
      })),
    }
  );
}

/** What was cloned from the snapshots of a dataset. */
export function clonesOf(zpool: string, dataset: string | undefined): readonly string[] {
  if (dataset === undefined) return [];
  const program = `
local result = {}
local arguments = ...
if zfs.exists(arguments.dataset) then
  for snapshot in zfs.list.snapshots(arguments.dataset) do
    for clone in zfs.list.clones(snapshot) do result[clone] = true end
  end
end
return result`;
  const found = look(zpool, program, { dataset }, dataset);
  return Object.keys((found as Record<string, unknown> | undefined) ?? {});
}
