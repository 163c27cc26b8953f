// Detections, as boxes over the image and as a list next to it.

// Distinguishable with every kind of color vision (Okabe and Ito, https://jfly.uni-koeln.de/color/, 2008), each with the color
// of the letters on it.
const COLORS = [
  ['#d55e00', '#fff'],
  ['#0072b2', '#fff'],
  ['#f0e442', '#000'],
  ['#009e73', '#000'],
  ['#cc79a7', '#000'],
  ['#56b4e9', '#000'],
  ['#e69f00', '#000'],
];
const CAPTION_PIXELS = 24; // a caption's height; with less room above the box, it is drawn inside

/** Shows the detections that score at least `least`; returns their captions, best first. */
export function showResults(overlay, list, found, labels, least) {
  const boxes = [];
  const items = [];
  const words = [];
  for (let index = 0; index < found.scores.length && found.scores[index] >= least; index += 1) {
    const label = found.classes[index];
    const one = {
      name: labels[label] ?? String(label),
      score: found.scores[index].toFixed(2),
      colors: COLORS[(label - 1) % COLORS.length],
      edges: [...found.boxes.subarray(4 * index, 4 * index + 4)],
    };
    words.push(`${one.name} ${one.score}`);
    boxes.push(boxElement(one, found, index, overlay.clientHeight));
    items.push(listElement(one, boxes[index]));
  }
  overlay.replaceChildren(...boxes);
  list.replaceChildren(...items);
  leaveOutCrowded(boxes);
  return words;
}

// Of captions that overlap, only the best is shown; the others appear while the pointer is on their line in the list.
function leaveOutCrowded(boxes) {
  const shown = [];
  // All are measured before the first is hidden; otherwise, the browser would lay out the page once per box.
  for (const [box, place] of boxes.map((one) => [one, one.firstChild.getBoundingClientRect()])) {
    const isCrowded = shown.some((other) => touch(place, other));
    box.classList.toggle('crowded', isCrowded);
    if (!isCrowded) shown.push(place);
  }
}

function touch(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

function boxElement({ name, score, colors, edges }, found, index, height) {
  const [top, left, bottom, right] = edges;
  const box = document.createElement('div');
  box.className = 'box';
  // The exact numbers, for people and tests that inspect the page, because the browser rounds the percentages of styles.
  Object.assign(box.dataset, { box: edges.join(' '), score: found.scores[index], id: found.classes[index] });
  const percent = (share) => `${100 * share}%`;
  Object.assign(box.style, {
    top: percent(top),
    left: percent(left),
    width: percent(right - left),
    height: percent(bottom - top),
    zIndex: found.scores.length - index, // the best on top
  });
  box.style.setProperty('--color', colors[0]);
  box.style.setProperty('--letters', colors[1]);
  box.classList.toggle('inside', top * height < CAPTION_PIXELS);
  box.classList.toggle('from-right', left > 0.7);
  const caption = document.createElement('span');
  caption.className = 'caption';
  caption.textContent = `${name} ${score}`;
  box.append(caption);
  return box;
}

function listElement({ name, score, colors }, box) {
  const item = document.createElement('li');
  const swatch = document.createElement('span');
  swatch.className = 'swatch';
  swatch.style.background = colors[0];
  const [nameText, scoreText] = [document.createElement('span'), document.createElement('span')];
  nameText.className = 'name';
  nameText.textContent = name;
  scoreText.className = 'number';
  scoreText.textContent = score;
  item.append(swatch, nameText, scoreText);
  item.addEventListener('mouseenter', () => box.classList.add('pointed'));
  item.addEventListener('mouseleave', () => box.classList.remove('pointed'));
  return item;
}
