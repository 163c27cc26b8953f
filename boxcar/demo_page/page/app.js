// The page: what a person does on it, in order, and the messages they read.

import { loadDetector, startBackend } from './detector.js';
import { Failure } from './failure.js';
import { Camera, readImage } from './images.js';
import { showResults } from './results.js';
import { atAddress, inFolder } from './sources.js';

const element = (id) => document.getElementById(id);
const NOTHING = { boxes: new Float32Array(0), scores: new Float32Array(0), classes: new Int32Array(0) };
const NAMED = 5; // detections in the sentence below the image; the list next to it has all of them
const REMEMBERED = 15; // camera frames: their median time is shown
const FILMING = 'The camera is running.';

const sources = new Map(); // the source of each model, by its value in the model menu
let detector = null;
let image = null; // the image that is shown, as ImageData
let found = NOTHING;
let camera = null;
let recent = []; // of the last frames: { times, at }

// TensorFlow.js has one global state, and the page has one image: they are changed by one task after the other.
let last = Promise.resolve();
function inTurn(work) {
  last = last.then(work).catch((error) => {
    if (!(error instanceof Failure)) console.error(error);
    const text = error instanceof Failure ? error.message : `The page itself failed (${error.message}). Reload it.`;
    element('failure').textContent = text;
    element('failure').hidden = false;
    element('failure').scrollIntoView({ block: 'nearest' });
    say('');
    stopCamera();
  });
  return last;
}

function say(text) {
  element('status').textContent = text;
}

function begin(text) {
  element('failure').hidden = true;
  say(text);
}

function loadModel() {
  return inTurn(async () => {
    const source = sources.get(element('model').value);
    if (!source) return;
    begin('Loading the model …');
    detector?.dispose();
    detector = null;
    showFound(NOTHING);
    element('title').textContent = 'Try a detector';
    element('about').textContent = source.name;
    const backend = await startBackend(document.querySelector('input[name="backend"]:checked').value);
    detector = await loadDetector(source);
    const { architecture, image_size: size, labels } = detector.specification;
    element('title').textContent = `Detector for ${listed(Object.values(labels))}`;
    element('about').textContent = `${architecture}, ${size} × ${size} pixels · ${backend}`;
    if (camera) say(FILMING);
    else if (image) await detect();
    else say('Ready: choose an image, or use the camera.');
  });
}

function showImage(file) {
  stopCamera();
  return inTurn(async () => {
    begin('Reading the image …');
    image = await readImage(file, element('image')); // if it cannot be read, the last one stays
    showFrame();
    showFound(NOTHING);
    if (!detector) throw new Failure('No model is loaded.', 'Choose one.');
    await detect();
  });
}

async function detect() {
  const result = await detector.detect(image);
  const times = result.milliseconds;
  recent = camera ? [...recent.slice(1 - REMEMBERED), { times, at: performance.now() }] : [{ times, at: 0 }];
  const words = showFound(result);
  if (!camera) say(inASentence(words));
}

function inASentence(words) {
  if (!words.length) return 'Nothing was found in the image.';
  const others = words.length - NAMED;
  return `Found in the image: ${words.slice(0, NAMED).join(', ')}${others > 0 ? ` and ${others} more` : ''}.`;
}

function showFound(result) {
  found = result;
  const least = Number(element('score').value);
  element('least').textContent = least.toFixed(2);
  const words = showResults(element('boxes'), element('list'), found, detector?.labels ?? {}, least);
  const measured = Boolean(result.milliseconds) && recent.length > 0;
  element('count').textContent = measured ? String(words.length) : '–';
  element('time').replaceChildren(...(measured ? timeShown() : ['–']));
  element('parts').textContent = measured ? partsShown() : '\u00a0';
  element('image').setAttribute('aria-label', `The image. Found: ${words.join(', ') || 'nothing'}.`);
  return words;
}

function timeShown() {
  const unit = document.createElement('small');
  unit.textContent = ' ms';
  return [median(recent.map(({ times }) => times.preparing + times.computing + times.deciding)).toFixed(0), unit];
}

function partsShown() {
  if (camera && recent.length > 1) {
    const seconds = (recent.at(-1).at - recent[0].at) / 1000;
    return `${((recent.length - 1) / seconds).toFixed(1)} images per second`;
  }
  const { preparing, computing, deciding } = recent.at(-1).times;
  return `pixels ${preparing.toFixed(1)}, network ${computing.toFixed(1)}, boxes ${deciding.toFixed(1)}`;
}

function showFrame() {
  element('empty').hidden = true;
  element('frame').hidden = false;
  element('frame').style.setProperty('--aspect', String(image.width / image.height));
}

async function startCamera() {
  await inTurn(async () => {
    begin('Asking for the camera …');
    camera = await Camera.open(element('video'), () => {
      inTurn(async () => {
        throw new Failure('The camera was disconnected.', 'Connect it again.');
      });
    });
    recent = [];
    element('camera').textContent = 'Stop the camera';
    say(FILMING);
  });
  while (camera) await inTurn(filmed);
}

async function filmed() {
  const seen = await camera?.frame(element('image'));
  if (!seen || !camera) return;
  image = seen;
  showFrame();
  if (detector) await detect();
}

function stopCamera() {
  if (!camera) return;
  camera.stop();
  camera = null;
  element('camera').textContent = 'Use the camera';
  say('');
}

/** Puts models into the menu and loads the first of them. */
function offer(models) {
  for (const { text, source } of models) {
    if (!sources.has(source.name)) element('model').append(new Option(text, source.name));
    sources.set(source.name, source);
  }
  element('model').value = models[0].source.name;
  return loadModel();
}

/** The models that models.json, next to the page, names. */
async function listedModels() {
  const answer = await fetch('models.json').catch(() => null);
  const listing = answer?.ok ? await answer.json().catch(() => null) : null;
  if (!Array.isArray(listing?.models) || !listing.models.length) {
    element('others').open = true;
    throw new Failure('This page’s server offers no model.', 'Choose one under “Another model”.');
  }
  return listing.models.map(({ name, folder, bytes }) => ({
    text: bytes ? `${name}, ${(bytes / 1e6).toFixed(1)} MB` : name,
    source: atAddress(folder),
  }));
}

function listed(names) {
  if (names.length > 4) return `${names.length} classes`;
  return names.length < 3 ? names.join(' and ') : `${names.slice(0, -1).join(', ')}, and ${names.at(-1)}`;
}

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}

/** Calls `work` with the files that a person chose; they can choose the same ones again. */
function onFiles(input, work) {
  input.addEventListener('change', () => {
    if (input.files.length) work([...input.files]);
    input.value = '';
  });
}

function listen() {
  onFiles(element('file'), ([file]) => showImage(file));
  onFiles(element('folder'), (files) => {
    inTurn(async () => inFolder(files).map((source) => ({ text: source.name, source }))).then((models) => models && offer(models));
  });
  element('camera').addEventListener('click', () => (camera ? stopCamera() : startCamera()));
  element('score').addEventListener('input', () => showFound(found));
  element('model').addEventListener('change', loadModel);
  for (const choice of document.querySelectorAll('input[name="backend"]')) choice.addEventListener('change', loadModel);
  element('address-form').addEventListener('submit', (event) => {
    event.preventDefault();
    inTurn(async () => atAddress(element('address').value)).then((source) => source && offer([{ text: source.name, source }]));
  });
  addEventListener('resize', () => showFound(found));
  addEventListener('dragover', (event) => {
    event.preventDefault();
    element('stage').classList.add('dropping');
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) element('stage').classList.remove('dropping');
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    element('stage').classList.remove('dropping');
    const [file] = event.dataTransfer.files;
    if (file) showImage(file);
    else {
      inTurn(async () => {
        throw new Failure('The dropped item is not an image file.', 'Save the image first, then drop its file.');
      });
    }
  });
}

listen();
inTurn(async () => {
  begin('Looking for models …');
  return listedModels();
}).then((models) => models && offer(models));
