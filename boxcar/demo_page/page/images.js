// Images from files and from the camera, drawn on the page's canvas at their own size, and the pixels read back from there.

import { Failure } from './failure.js';

/** Draws an image file and returns its ImageData: upright by its EXIF orientation, with the stored colors, on white. */
export async function readImage(file, canvas) {
  let bitmap;
  try {
    // No conversion by a color profile, as in training and in the other runners.
    const options = { imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
    bitmap = await createImageBitmap(file, options);
  } catch {
    throw new Failure(
      `${file.name || 'That file'} cannot be decoded: it is damaged, or not an image that this browser can read.`,
      'Choose a JPEG, PNG, or WebP image.',
    );
  }
  try {
    return paint(canvas, bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

function paint(canvas, source, width, height) {
  try {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
    context.fillStyle = 'white'; // where an image is transparent, as in training and in the other runners
    context.fillRect(0, 0, width, height);
    context.drawImage(source, 0, 0);
    return context.getImageData(0, 0, width, height);
  } catch {
    throw new Failure(`An image of ${width} × ${height} pixels is too large for this browser.`, 'Make it smaller.');
  }
}

/** The camera. Its video element stays hidden; `frame` draws its current image. */
export class Camera {
  constructor(video, stream) {
    this.video = video;
    this.stream = stream;
  }

  /** Asks for the camera, on a phone for the one at its back; `ended` is called if the camera is disconnected. */
  static async open(video, ended) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Failure('Browsers allow the camera only on localhost and over https.', 'Open the page that way.');
    }
    let stream;
    try {
      const wanted = { facingMode: 'environment', width: { ideal: 1280 }, height: { ideal: 720 } };
      stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      video.srcObject = stream;
      await video.play();
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      throw refused(error);
    }
    stream.getVideoTracks()[0].addEventListener('ended', ended);
    return new Camera(video, stream);
  }

  /** Waits for the browser's next frame, draws it, and returns its ImageData; null if there is none yet. */
  async frame(canvas) {
    await new Promise((resolve) => requestAnimationFrame(resolve)); // not called while the page is hidden
    const { videoWidth: width, videoHeight: height } = this.video;
    return width && height ? paint(canvas, this.video, width, height) : null;
  }

  stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }
}

function refused(error) {
  const reasons = {
    NotAllowedError: ['The browser blocked the camera.', 'Allow it in the browser’s settings for this page.'],
    NotFoundError: ['There is no camera on this device.', 'Connect one, or choose an image.'],
    NotReadableError: ['Another program is using the camera.', 'Close it, then try again.'],
  };
  return new Failure(...(reasons[error.name] ?? [`The camera does not start (${error.message}).`, 'Try again, or choose an image.']));
}
