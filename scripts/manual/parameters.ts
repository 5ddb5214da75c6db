import type { Command } from '@stricli/core';
import type { CliContext } from '../../src/cli/context.ts';
import { bold, italic } from './roff.ts';

type Parameters = Command<CliContext>['parameters'];
type Flag = NonNullable<Parameters['flags']>[string];

/** What follows the command: flags, then arguments; what may be left out in brackets. */
export function synopsisOf({ parameters }: Command<CliContext>): string {
  const flags = Object.entries(parameters.flags ?? {}).map(([name, flag]) => {
    const text = [bold(flagName(name)), ...placeholderOf(flag)].join(' ');
    const once = isOptional(flag) ? `[${text}]` : text;
    return flag.kind === 'parsed' && flag.variadic ? `${once} ...` : once;
  });
  const words = positionalOf(parameters).map(({ placeholder = '', optional }) =>
    optional ? `[${italic(placeholder)}]` : italic(placeholder),
  );
  return [...flags, ...words, ...(isArray(parameters) ? ['...'] : [])].join(' ');
}

export function argumentsOf({ parameters }: Command<CliContext>): Array<readonly [string, string]> {
  return positionalOf(parameters).map(({ placeholder = '', brief }) => [italic(placeholder), `${brief}.`]);
}

export function flagsOf({ parameters }: Command<CliContext>): Array<readonly [string, string]> {
  const aliases = Object.entries(parameters.aliases ?? {});
  const flags = Object.entries(parameters.flags ?? {}).map(([name, flag]) => {
    const short = aliases.filter(([, long]) => long === name).map(([letter]) => `${bold(`-${letter}`)}, `);
    const term = [short.join('') + bold(flagName(name)), ...placeholderOf(flag)].join(' ');
    return [term, `${flag.brief}${defaultOf(flag)}.`] as const;
  });
  return [...flags, [`${bold('-h')}, ${bold('--help')}`, 'Print help and exit.']];
}

/** Whether `COPPICE_POOL` matters to it. */
export function takesPool({ parameters }: Command<CliContext>): boolean {
  const briefs = positionalOf(parameters).map(({ brief }) => brief);
  return 'pool' in (parameters.flags ?? {}) || briefs.some((brief) => brief.includes('$COPPICE_POOL'));
}

interface Positional {
  readonly placeholder?: string | undefined;
  readonly brief: string;
  readonly optional?: boolean | undefined;
}

function positionalOf({ positional }: Parameters): readonly Positional[] {
  if (!positional) return [];
  if (positional.kind === 'tuple') return positional.parameters;
  const { parameter, minimum = 0 } = positional;
  return [{ placeholder: parameter.placeholder, brief: parameter.brief, optional: minimum === 0 }];
}

function isArray({ positional }: Parameters): boolean {
  return positional?.kind === 'array';
}

function placeholderOf(flag: Flag): string[] {
  if (flag.kind === 'boolean') return [];
  if (flag.kind === 'enum') return [flag.values.map((value) => bold(value)).join('|')];
  return [italic(flag.placeholder ?? 'value')];
}

function defaultOf(flag: Flag): string {
  return flag.kind === 'enum' && flag.default !== undefined ? `; ${flag.default} when absent` : '';
}

function isOptional(flag: Flag): boolean {
  return (
    flag.kind === 'boolean' || flag.optional === true || ('default' in flag && flag.default !== undefined)
  );
}

function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
