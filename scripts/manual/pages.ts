import type { Command, RouteMap } from '@stricli/core';
import type { CliContext } from '../../src/cli/context.ts';
import { exitMeanings } from '../../src/cli/exit-meanings.ts';
import { argumentsOf, flagsOf, synopsisOf, takesPool } from './parameters.ts';
import { bold, definitions, paragraphs, plain, section, title, verbatim, wrapped } from './roff.ts';

export interface ManualPage {
  /** Such as `coppice-pool-create`. */
  readonly name: string;
  readonly text: string;
}

interface Edition {
  readonly version: string;
  readonly date: string;
}

type Target = Command<CliContext> | RouteMap<CliContext>;

/** A page for each command and each group of commands, all from their definitions. */
export function manualPages(
  target: Target,
  edition: Edition,
  words: readonly string[] = ['coppice'],
): ManualPage[] {
  const page = { name: pageName(words), text: pageOf(target, edition, words) };
  if (!isGroup(target)) return [page];
  return [
    page,
    ...visible(target).flatMap((entry) => manualPages(entry.target, edition, [...words, entry.name])),
  ];
}

function pageOf(target: Target, edition: Edition, words: readonly string[]): string {
  const { description, examples } = described(target);
  const own = isGroup(target) ? groupSections(target, words) : commandSections(target, words);
  return [
    title(pageName(words), edition),
    section('NAME', wrapped(`${pageName(words)} \\- ${plain(target.brief).replaceAll('\n', ' ')}`)),
    section('SYNOPSIS', wrapped(own.synopsis)),
    section('DESCRIPTION', paragraphs(description)),
    ...own.sections,
    section('EXAMPLES', verbatim(examples)),
    section('EXIT STATUS', definitions(exitMeanings.map(([codes, meaning]) => [bold(codes), meaning]))),
    section('ENVIRONMENT', definitions(variables(target))),
    section('SEE ALSO', own.related.map((name) => `.BR ${name.replaceAll('-', '\\-')} (1)`).join(' ,\n')),
    '',
  ].join('\n');
}

interface OwnSections {
  readonly synopsis: string;
  readonly sections: readonly string[];
  readonly related: readonly string[];
}

function commandSections(command: Command<CliContext>, words: readonly string[]): OwnSections {
  const positional = argumentsOf(command);
  return {
    synopsis: `${bold(words.join(' '))} ${synopsisOf(command)}`.trimEnd(),
    sections: [
      ...(positional.length > 0 ? [section('ARGUMENTS', definitions(positional))] : []),
      section('OPTIONS', definitions(flagsOf(command))),
    ],
    related: words
      .slice(1)
      .map((_, index) => pageName(words.slice(0, index + 1)))
      .reverse(),
  };
}

function groupSections(group: RouteMap<CliContext>, words: readonly string[]): OwnSections {
  const below = visible(group);
  const pages = below.map(({ name }) => pageName([...words, name]));
  const rows = below.map(
    ({ name, target }) => [bold([...words, name].join(' ')), `${target.brief}.`] as const,
  );
  return {
    synopsis: `${bold(words.join(' '))} \\fICOMMAND\\fR [\\fIflags\\fR] [\\fIarguments\\fR]`,
    sections: [
      section('COMMANDS', definitions(rows)),
      section(
        'OPTIONS',
        definitions([
          [bold('--help'), 'Print help and exit; after a command, the help of that.'],
          ...(words.length === 1 ? [[bold('--version'), 'Print the version and exit.'] as const] : []),
        ]),
      ),
    ],
    related: words.length === 1 ? pages : [pageName(words.slice(0, -1)), ...pages],
  };
}

/** The text of a command and the examples below it. */
function described(target: Target): { readonly description: string; readonly examples: readonly string[] } {
  const [description = '', examples = ''] = (target.fullDescription ?? `${target.brief}.`).split(
    /\n\n(?:EXAMPLES|FIRST STEPS)\n/,
  );
  if (examples !== '') return { description, examples: examples.split('\n').map((line) => line.slice(2)) };
  const below = isGroup(target) ? visible(target).flatMap((entry) => described(entry.target).examples) : [];
  return { description, examples: below };
}

function variables(target: Target): ReadonlyArray<readonly [name: string, meaning: string]> {
  const pool = 'The directory of the pool, where no argument or flag names one; else it is /var/lib/coppice.';
  return [
    ...(isGroup(target) || takesPool(target) ? [[bold('COPPICE_POOL'), pool] as const] : []),
    [bold('COLUMNS'), 'How wide tables may be on a terminal; else as wide as it is.'],
  ];
}

function visible(
  group: RouteMap<CliContext>,
): ReadonlyArray<{ readonly name: string; readonly target: Target }> {
  return group
    .getAllEntries()
    .filter((entry) => !entry.hidden)
    .map((entry) => ({ name: entry.name['convert-camel-to-kebab'], target: entry.target }));
}

function isGroup(target: Target): target is RouteMap<CliContext> {
  return 'getAllEntries' in target;
}

function pageName(words: readonly string[]): string {
  return words.join('-');
}
