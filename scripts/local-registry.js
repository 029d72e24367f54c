// An npm registry on 127.0.0.1 that serves the production dependencies out of node_modules, for installing offline.
'use strict';

const { execFileSync } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { root } = require('./setup');

/** Where npm put every package that users of foretoken get, by the lock file. */
function productionModules() {
  const { packages } = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([location, entry]) => location !== '' && !entry.dev && fs.existsSync(path.join(root, location)))
    .map(([location]) => path.join(root, location));
}

/** Packs one installed module into a tarball like the one it came from. */
function packModule(module, folder) {
  const manifest = JSON.parse(fs.readFileSync(path.join(module, 'package.json'), 'utf8'));
  const file = `${manifest.name.replaceAll('/', '+')}-${manifest.version}.tgz`;
  const tarball = path.join(folder, file);
  const args = ['-czf', tarball, '--exclude=./node_modules', '--transform=s,^[.],package,', '-C', module, '.'];
  execFileSync('tar', args);
  const integrity = `sha512-${crypto.createHash('sha512').update(fs.readFileSync(tarball)).digest('base64')}`;
  return { manifest, file, integrity };
}

/** What npm asks a registry for first: all versions of one package. */
function packuments(modules, url) {
  const byName = new Map();
  for (const { manifest, file, integrity } of modules) {
    const { name, version } = manifest;
    const packument = byName.get(name) ?? { name, 'dist-tags': {}, versions: {} };
    packument['dist-tags'].latest = version;
    packument.versions[version] = { ...manifest, dist: { tarball: `${url}/tarballs/${file}`, integrity } };
    byName.set(name, packument);
  }
  return byName;
}

/**
 * Starts the registry; its tarballs lie in `folder` while it runs.
 * @returns {Promise<{url: string, close: () => void}>}
 */
async function serveModules(folder) {
  fs.mkdirSync(folder, { recursive: true });
  const modules = productionModules().map((module) => packModule(module, folder));
  let known = new Map();
  const server = http.createServer((request, response) => {
    const wanted = decodeURIComponent(request.url.slice(1));
    const tarball = modules.find(({ file }) => wanted === `tarballs/${file}`);
    if (tarball) {
      response.end(fs.readFileSync(path.join(folder, tarball.file)));
    } else if (known.has(wanted)) {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(known.get(wanted)));
    } else {
      response.statusCode = 404;
      response.end(JSON.stringify({ error: `${wanted} is not in node_modules` }));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  known = packuments(modules, url);
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url, close };
}

module.exports = { serveModules };
