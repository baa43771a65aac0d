// types.test - the JSDoc types of the client and the page hold, strictly, and so does a program that uses them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

test('tsc --checkJs finds nothing in the client, the chat page, and a program that uses the client', () => {
    const tsc = here('node_modules/typescript/bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', here('tsconfig.json')], {
        encoding: 'utf8',
    });
    assert.equal(status, 0, stdout);
});
