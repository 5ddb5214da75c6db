import type { CommandContext } from '@stricli/core';

/** What a command may touch of the outside: given in, so that a test can give its own. */
export interface CliContext extends CommandContext {
  readonly process: NodeJS.Process;
}

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

interface Text {
  readonly kind: 'parsed';
  readonly parse: (text: string) => string;
  readonly brief: string;
  readonly placeholder: string;
}

interface Word {
  readonly placeholder: string;
  readonly brief: string;
  readonly parse: (text: string) => string;
}

/** A flag that is on or off, and off by itself. */
export function toggle(brief: string): Toggle {
  return { kind: 'boolean', brief, default: false, withNegated: false };
}

/** A flag with a value that may be left out. It is taken as it is written, and read by the command. */
export function optionalText(placeholder: string, brief: string): Text & { readonly optional: true } {
  return { kind: 'parsed', parse: String, brief, placeholder, optional: true };
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
export function word(placeholder: string, brief: string): Word {
  return { placeholder, brief, parse: String };
}

export function optionalWord(placeholder: string, brief: string): Word & { readonly optional: true } {
  return { ...word(placeholder, brief), optional: true };
}

const defaultPool = '[default = $COPPICE_POOL, else /var/lib/coppice]';

export const jsonFlag: Toggle = toggle(
  'Print the result as JSON on standard output, and an error as JSON on standard error',
);

export const poolFlags: { readonly pool: Text & { readonly optional: true }; readonly json: Toggle } = {
  pool: optionalText('PATH', `Directory of the pool ${defaultPool}`),
  json: jsonFlag,
};

export const poolPathArgument: Word & { readonly optional: true } = optionalWord(
  'PATH',
  `Directory of the pool ${defaultPool}`,
);

/** A description with examples below it. */
export function withExamples(description: string, ...examples: readonly string[]): string {
  return `${description}\n\nEXAMPLES\n${examples.map((example) => `  ${example}`).join('\n')}`;
}
