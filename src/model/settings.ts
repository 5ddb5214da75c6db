import { CoppiceError, didYouMean } from './errors.ts';

/**
 * What a user has said of a volume once, for all that is done with it later: names with values, as ZFS has properties. They lie in the
 * metadata of the volume, which has to fit into one attribute. A clone begins without any: they speak of the application that runs
 * on the volume, and on the clone runs another one. What a value means is for those to say who use it; here is only what any can be.
 */
export type Settings = Readonly<Record<string, string>>;

/** Of all settings of a volume together, as JSON. An attribute holds 8 KiB on btrfs and xfs, and a property on zfs. */
export const longestSettings = 3072;
const longestValue = 1024;

/** What begins the name of a setting, and what follows it. */
const families: Readonly<Record<string, { readonly rest: RegExp | undefined; readonly what: string }>> = {
  consistency: { rest: undefined, what: 'the level of snapshots that ask for none' },
  quiesce: {
    rest: /^[a-z]+(\.[a-z0-9][a-z0-9-]{0,31})?$/,
    what: 'an application to bring to rest for a snapshot',
  },
  stop: { rest: /^(unit|hook|timeout)$/, what: 'what is stopped for a rollback, and started after it' },
  policy: { rest: /^[a-z]+(-[a-z]+)*$/, what: 'which snapshots are taken and kept' },
  verify: { rest: /^[a-z]+(-[a-z]+)*$/, what: 'how snapshots are proven' },
};

/** @throws CoppiceError invalid_argument unless there could be a setting of this name and value */
export function checkSetting(name: string, value: string): void {
  const [family = '', ...rest] = name.split('.');
  const known = Object.hasOwn(families, family) ? families[family] : undefined;
  const fits = known && (known.rest ? known.rest.test(rest.join('.')) : rest.length === 0);
  if (!fits) {
    throw new CoppiceError(
      'invalid_argument',
      `There is no setting "${name}".${didYouMean(family, Object.keys(families))} "coppice set --help" lists them.`,
    );
  }
  if (value === '' || value.length > longestValue || !/^[\x20-\x7e]*$/.test(value)) {
    throw new CoppiceError(
      'invalid_argument',
      `The value of ${name} must be printable ASCII text of 1 to ${longestValue} characters.`,
    );
  }
}

/** The settings of a family, without its name: in the order in which they were made. */
export function settingsOf(settings: Settings | undefined, family: string): ReadonlyArray<[string, string]> {
  return Object.entries(settings ?? {}).flatMap(([name, value]) =>
    name.startsWith(`${family}.`) ? [[name.slice(family.length + 1), value] as [string, string]] : [],
  );
}

/** Anybody may have written the metadata that they come from, also a newer version, whose settings mean nothing here. */
export function isSettings(value: unknown): value is Settings | undefined {
  if (value === undefined) return true;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((each) => typeof each === 'string');
}
