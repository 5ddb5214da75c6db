import { hasErrno } from '../../linux/libc.ts';
import { lookWithProgram } from '../../linux/zfs-core.ts';
import { metadataProperty, nameProperty } from './layout.ts';

/**
 * What ZFS says about datasets, asked of the kernel by small programs and without a process. A property costs as much as all
 * user properties of a dataset together, so each question names what it needs.
 */

/** Local user properties that are Coppice's, by name. */
export type Properties = Readonly<Record<string, string>>;

export interface Ancestry {
  readonly name: string;
  readonly guid: string;
  /** Seconds since 1970. */
  readonly created: string;
  /** The snapshot that it is a clone of; empty for none. */
  readonly origin: string;
  readonly metadata: string;
  /** The metadata of that snapshot itself; empty for none. */
  readonly originMetadata: string;
  /** Of a branch, the name that its volume had; else empty. */
  readonly volume: string;
}

/** Of a program: the function `properties`. */
export const properties = `
local function properties(name)
  local found = {}
  for key, value, source in zfs.list.user_properties(name) do
    if string.sub(key, 1, 8) == "coppice:" and source == name then
      -- Ours are printable; what is not was put there by somebody else, and could not be read from here.
      found[key] = string.find(value, "[^ -~]") and "" or value
    end
  end
  return found
end
`;

/** Of a program: `get` is get_prop, which would end the program where the snapshot of a tree is asked for the size of its disk. */
export const sizeIfAny = `
local function get(name, key)
  if key == "volsize" and string.find(name, "@", 1, true) then
    if zfs.get_prop(string.match(name, "^[^@]*"), "type") ~= "volume" then return nil end
  end
  return zfs.get_prop(name, key)
end
`;

/** Of those that exist, their own properties. */
export function lookAt(zpool: string, names: readonly string[]): ReadonlyMap<string, Properties> {
  const program = `${properties}
local result = {}
local arguments = ...
for name in pairs(arguments.names) do
  if zfs.exists(name) then result[name] = properties(name) end
end
return result`;
  const found = look(zpool, program, { names }, names.join(', ')) as Record<string, Properties> | undefined;
  return new Map(Object.entries(found ?? {}));
}

/** The datasets below one, without their own children; empty also where there is none of that name. */
export function childrenOf(zpool: string, parent: string): readonly string[] {
  const program = `
local result = {}
local arguments = ...
if zfs.exists(arguments.parent) then
  for child in zfs.list.children(arguments.parent) do result[child] = true end
end
return result`;
  const found = look(zpool, program, { parent }, parent);
  return Object.keys((found as Record<string, unknown> | undefined) ?? {});
}

/** The values of properties of one dataset; what it does not have is missing. Numbers are decimal text. */
export function propertiesOf<K extends string>(
  zpool: string,
  dataset: string,
  names: readonly K[],
): Partial<Readonly<Record<K, string>>> {
  const program = `${sizeIfAny}
local result = {}
local arguments = ...
for name in pairs(arguments.names) do
  local value = get(arguments.dataset, name)
  if value ~= nil then result[name] = tostring(value) end
end
return result`;
  return (look(zpool, program, { dataset, names }, dataset) ?? {}) as Partial<Record<K, string>>;
}

/** Of some properties those that are set on a dataset itself, and its user properties that are not Coppice's. */
export function localOf(
  zpool: string,
  dataset: string,
  names: readonly string[],
): { readonly native: Properties; readonly user: Properties } {
  const program = `
local native, user = {}, {}
local arguments = ...
for name in pairs(arguments.names) do
  local value, source = zfs.get_prop(arguments.dataset, name)
  if value ~= nil and source == arguments.dataset then native[name] = tostring(value) end
end
for name, value, source in zfs.list.user_properties(arguments.dataset) do
  if source == arguments.dataset and string.sub(name, 1, 8) ~= "coppice:" then
    user[name] = string.gsub(value, ".", function(each) return string.format("%02x", string.byte(each)) end)
  end
end
return { native = native, user = user }`;
  const found = look(zpool, program, { dataset, names }, dataset) as
    | { readonly native?: Properties; readonly user?: Properties }
    | undefined;
  const texts = Object.entries(found?.user ?? {}).map(([name, hex]) => [
    name,
    Buffer.from(hex, 'hex').toString(),
  ]);
  return { native: found?.native ?? {}, user: Object.fromEntries(texts) as Properties };
}

/**
 * A dataset and what it was cloned from, the nearest first, up to the first that has metadata of its own: the others were cloned
 * in one step, and what they would say of themselves ZFS knows already.
 */
export function ancestryOf(zpool: string, dataset: string): readonly Ancestry[] {
  const program = `${properties}
local result = {}
local arguments = ...
local name = arguments.dataset
for step = 1, 1000 do
  if name == "" or not zfs.exists(name) then break end
  local origin = zfs.get_prop(name, "origin") or ""
  local own = properties(name)
  local entry = {
    name = name,
    guid = tostring(zfs.get_prop(name, "guid")),
    created = tostring(zfs.get_prop(name, "creation")),
    origin = origin,
    metadata = own["${metadataProperty}"] or "",
    originMetadata = "",
    volume = own["${nameProperty}"] or "",
  }
  if origin ~= "" then entry.originMetadata = properties(origin)["${metadataProperty}"] or "" end
  result[step] = entry
  if entry.metadata ~= "" and step > 1 then break end
  name = string.match(origin, "^[^@]*") or ""
end
return result`;
  const found = look(zpool, program, { dataset }, dataset) as Record<string, Ancestry> | undefined;
  return Object.entries(found ?? {})
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, ancestor]) => ancestor);
}

/** What vanishes between two steps of a program ends it; then it is asked again. */
export function look(
  zpool: string,
  program: string,
  args: Parameters<typeof lookWithProgram>[2],
  subject: string,
): unknown {
  for (let attempt = 1; ; attempt++) {
    try {
      return lookWithProgram(zpool, program, args, subject);
    } catch (error) {
      // EINTR: a signal came meanwhile, such as that of a child process that has ended.
      if (attempt === 5 || !hasErrno(error, 'ECHRNG', 'EINTR')) throw error;
    }
  }
}
