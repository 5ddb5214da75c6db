import type { CommandContext } from '@stricli/core';
import { defaultPoolPath } from '../engine/pools/default-path.ts';
import { CoppiceError } from '../model/errors.ts';

/** What a command may touch of the outside: given in, so that a test can give its own. */
export interface CliContext extends CommandContext {
  readonly process: NodeJS.Process;
  /** What would fit a word that is being typed; only there while a shell completes. */
  readonly propose?: (what: Nameable, partial: string) => readonly string[];
}

/** What a word on the command line names, so that a shell can complete it. An `entry` is a volume or a template, a `reference` also a snapshot. */
export type Nameable = 'entry' | 'snapshot' | 'reference' | 'file' | 'directory';

/** Flags that every command on a pool has. */
export interface PoolFlags {
  readonly pool?: string;
  readonly json: boolean;
}

interface Toggle {
  readonly kind: 'boolean';
  readonly brief: string;
  readonly default: false;
  readonly withNegated: false;
}

interface Completable {
  readonly proposeCompletions?: (this: CliContext, partial: string) => readonly string[];
}

export interface Text extends Completable {
  readonly kind: 'parsed';
  readonly parse: (text: string) => string;
  readonly brief: string;
  readonly placeholder: string;
}

interface Word extends Completable {
  readonly placeholder: string;
  readonly brief: string;
  readonly parse: (text: string) => string;
}

/** A flag that is on or off, and off by itself. */
export function toggle(brief: string): Toggle {
  return { kind: 'boolean', brief, default: false, withNegated: false };
}

/** A flag with a value that may be left out. It is taken as it is written, and read by the command. */
export function optionalText(
  placeholder: string,
  brief: string,
  names?: Nameable,
): Text & { readonly optional: true } {
  return { kind: 'parsed', parse: String, brief, placeholder, optional: true, ...completing(names) };
}

const sizeHint = 'such as 512M, 10G or 1.5T';

/** A size; parsed by the command, so that a mistake in it is told like any other. */
export function sizeText(brief: string): Text {
  return { kind: 'parsed', parse: String, brief: `${brief}, ${sizeHint}`, placeholder: 'SIZE' };
}

export function optionalSize(brief: string): Text & { readonly optional: true } {
  return { ...sizeText(brief), optional: true };
}

/** A positional argument that is taken as it is written. */
export function word(placeholder: string, brief: string, names?: Nameable): Word {
  return { placeholder, brief, parse: String, ...completing(names) };
}

export function optionalWord(
  placeholder: string,
  brief: string,
  names?: Nameable,
): Word & { readonly optional: true } {
  return { ...word(placeholder, brief, names), optional: true };
}

/** A positional argument that is one of a few words. */
export function choice<T extends string>(
  placeholder: string,
  brief: string,
  values: readonly T[],
): Omit<Word, 'parse'> & { readonly parse: (text: string) => T } {
  const parse = (text: string): T => {
    const found = values.find((value) => value === text);
    if (found !== undefined) return found;
    throw new CoppiceError('invalid_argument', `"${text}" is none of ${values.join(', ')}.`);
  };
  return { placeholder, brief, parse, proposeCompletions: () => values };
}

function completing(names: Nameable | undefined): Completable {
  if (names === undefined) return {};
  return {
    proposeCompletions(partial) {
      return this.propose?.(names, partial) ?? [];
    },
  };
}

const defaultPool = `[default = $COPPICE_POOL, else ${defaultPoolPath}]`;

export const jsonFlag: Toggle = toggle(
  'Print the result as JSON on standard output, and an error as JSON on standard error',
);

export const poolFlags: { readonly pool: Text & { readonly optional: true }; readonly json: Toggle } = {
  pool: optionalText('PATH', `Directory of the pool, or zfs:DATASET ${defaultPool}`, 'directory'),
  json: jsonFlag,
};

/** Of what is done by schedule, for all pools of a host by one command. */
export const severalPools: {
  readonly pool: Text & { readonly optional: true; readonly variadic: true };
  readonly json: Toggle;
} = {
  pool: { ...poolFlags.pool, brief: `${poolFlags.pool.brief}; several may be given`, variadic: true },
  json: jsonFlag,
};

export const poolPathArgument: Word & { readonly optional: true } = optionalWord(
  'PATH',
  `Directory of the pool, or zfs:DATASET ${defaultPool}`,
  'directory',
);

/** A description with examples below it. */
export function withExamples(description: string, ...examples: readonly string[]): string {
  return `${description}\n\nEXAMPLES\n${examples.map((example) => `  ${example}`).join('\n')}`;
}
