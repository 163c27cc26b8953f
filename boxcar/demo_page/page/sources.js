// Sources of a model's files: an address, or a folder on this computer. A source is { name, read(file) -> ArrayBuffer }.

import { Failure } from './failure.js';

const NAME_A_FOLDER = 'Give a folder with a model.json, for example export/tfjs/float32 of a run.';

/** The folder at an address, which may be relative to the page and may end in model.json. */
export function atAddress(address) {
  let folder;
  try {
    folder = new URL(address.trim().replace(/model\.json$/, '').replace(/\/*$/, '/'), document.baseURI);
  } catch {
    throw new Failure(`“${address}” is not an address.`, NAME_A_FOLDER);
  }
  if (!['http:', 'https:'].includes(folder.protocol)) {
    throw new Failure(`${folder.protocol} addresses cannot be read here.`, 'To read files on this computer, choose their folder.');
  }
  const read = async (file) => {
    const answer = await fetch(new URL(file, folder)).catch(() => {
      throw new Failure(
        `${folder.host} does not answer, or does not let this page read its files.`,
        'Check the address; another server must send Access-Control-Allow-Origin.',
      );
    });
    if (answer.status === 404) throw new Failure(`There is no ${file} in ${folder.href}.`, NAME_A_FOLDER);
    if (!answer.ok) {
      throw new Failure(`${folder.host} returned status ${answer.status} for ${file}.`, 'Check that the server lets you read it.');
    }
    return answer.arrayBuffer();
  };
  return { name: folder.href, read };
}

/** One source for each model among the files of a folder that a person chose. */
export function inFolder(files) {
  const byPath = new Map([...files].map((file) => [file.webkitRelativePath || file.name, file]));
  const models = [...byPath.keys()].filter((path) => /(^|\/)model\.json$/.test(path)).sort();
  if (!models.length) throw new Failure('There is no model.json in that folder.', NAME_A_FOLDER);
  return models.map((path) => {
    const folder = path.slice(0, -'model.json'.length);
    const read = async (file) => {
      const found = byPath.get(folder + file);
      if (!found) throw new Failure(`There is no ${file} in ${folder || 'that folder'}.`, 'Choose the folder with all its files.');
      return found.arrayBuffer();
    };
    return { name: folder.replace(/\/$/, '') || 'the chosen folder', read };
  });
}

/** Reads and parses a JSON file of a source. */
export async function readJson(source, file) {
  const bytes = await source.read(file);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new Failure(`${file} of ${source.name} is not JSON.`, 'Export the model again.');
  }
}
