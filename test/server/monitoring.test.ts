import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectCoppice } from '../../src/client/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { repository } from '../support/built.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const alertsFile = join(repository, 'docs', 'alerts.yml');
const alerts = readFileSync(alertsFile, 'utf8');
const dashboard = JSON.parse(readFileSync(join(repository, 'docs', 'grafana-dashboard.json'), 'utf8')) as {
  readonly templating: {
    readonly list: ReadonlyArray<{
      readonly name: string;
      readonly query?: string | { readonly query: string };
    }>;
  };
  readonly panels: ReadonlyArray<{
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number };
    readonly targets: ReadonlyArray<{ readonly expr: string }>;
  }>;
};

/** Each name and label that a running server tells, once something has happened. */
let exported: ReadonlyMap<string, ReadonlySet<string>>;
let home: TestServer;

beforeAll(async () => {
  home = await startTestServer();
  using client = connectCoppice({ socket: home.socket });
  await client.volumes.createVolume({ parent: 'pools/vms', volumeId: 'disk', sizeBytes: 2n ** 20n });
  using stranger = connectCoppice({ socket: home.socket, token: 'coppice_wrong' });
  await stranger.pools.listPools({}).catch(() => {});
  exported = read(await metrics(home.socket));
});
afterAll(() => home[Symbol.asyncDispose]());

/** Told only of pools that know it: on ZFS. */
const notHere = new Map([['coppice_pool_compress_ratio', new Set(['pool'])]]);
/** Labels that Prometheus itself gives. */
const ofPrometheus = ['instance', 'job'];

const expressionsOf: Readonly<Record<string, () => string[]>> = {
  'docs/grafana-dashboard.json': () => [
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    ...dashboard.templating.list.flatMap(({ query = '' }) =>
      typeof query === 'string' ? [] : [query.query],
    ),
  ],
  'docs/alerts.yml': () =>
    [...alerts.matchAll(/^ +expr: '(.*)'$/gm)].map(([, expression = '']) => expression.replaceAll("''", "'")),
};

test.each(Object.keys(expressionsOf))(
  '%s uses only metrics and labels that a running server tells',
  (file) => {
    const expressions = expressionsOf[file]?.() ?? [];
    expect(expressions.length).toBeGreaterThan(8);
    for (const expression of expressions) {
      const used = [...expression.matchAll(/\b((?:coppice|process)_\w+)(?:\{([^}]*)\})?/g)];
      if (!/^up\{/.test(expression)) expect(used, expression).not.toEqual([]);
      for (const [, name = '', selectors = ''] of used) {
        const labels = exported.get(name) ?? notHere.get(name);
        expect(labels, `${name} in ${expression}`).toBeDefined();
        for (const [, label = ''] of selectors.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g))
          expect([...ofPrometheus, ...(labels ?? [])], `${label} of ${name}`).toContain(label);
      }
    }
  },
);

test('the dashboard shows every metric, each panel once and in a place of its own', () => {
  const all = (expressionsOf['docs/grafana-dashboard.json']?.() ?? []).join(' ');
  for (const name of exported.keys()) expect(all).toContain(name);
  const { panels } = dashboard;
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  expect(new Set(panels.map(({ title }) => title)).size).toBe(panels.length);
  expect(new Set(panels.map(({ gridPos }) => `${gridPos.x},${gridPos.y}`)).size).toBe(panels.length);
});

test('each alert has a severity, a summary and what to do', () => {
  const rules = alerts.split(/^ {6}- alert: /m).slice(1);
  expect(rules.length).toBeGreaterThan(7);
  for (const rule of rules)
    expect(rule).toMatch(
      /^Coppice\w+\n +expr: '.+'\n +for: \d+[mh]\n +labels:\n +severity: (warning|critical)\n +annotations:\n +summary: '.+'\n +description: '.+'\n$/,
    );
});

const promtool = ['/usr/bin/promtool', '/usr/local/bin/promtool'].find((file) => existsSync(file));
test.skipIf(promtool === undefined)(
  `promtool finds nothing wrong with the alerts${promtool === undefined ? ' (skipped: there is no promtool)' : ''}`,
  () => {
    expect(runProgram(promtool ?? '', ['check', 'rules', alertsFile])).toContain('SUCCESS');
  },
);

function read(told: string): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>();
  for (const [, name = '', labels = ''] of told.matchAll(/^([a-z_]+)(?:\{(.*)\})? \S+$/gm)) {
    const known = found.get(name) ?? new Set();
    found.set(name, known);
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label);
  }
  return found;
}

function metrics(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path: '/metrics', agent: false }, (response) => resolve(text(response)))
      .on('error', reject)
      .end();
  });
}
