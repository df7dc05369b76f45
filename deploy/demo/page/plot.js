// A line or two of the last minute on a canvas.

const POINTS = 60;

export class Plot {
  // `lines`: [{name, colour}]; `floor` is the least that the top of the scale shows.
  constructor(canvas, { unit, floor, lines }) {
    Object.assign(this, { canvas, unit, floor, lines });
    this.values = lines.map(() => []);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    this.values = this.lines.map(() => []);
    this.draw();
  }

  // One value for each line; undefined where nothing is known.
  add(...values) {
    values.forEach((value, i) => {
      this.values[i].push(Number.isFinite(value) ? value : null);
      this.values[i].splice(0, this.values[i].length - POINTS);
    });
    this.draw();
  }

  draw() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, sans-serif";
    const known = this.values.flat().filter((value) => value !== null);
    const top = nice(Math.max(this.floor, ...known));
    const [above, below] = [20, height - 6];
    const y = (value) => below - (value / top) * (below - above);
    pen.strokeStyle = style.getPropertyValue("--line");
    for (const part of [0, 0.5, 1]) {
      pen.beginPath();
      pen.moveTo(0, y(top * part));
      pen.lineTo(width, y(top * part));
      pen.stroke();
    }
    pen.fillStyle = style.getPropertyValue("--quiet");
    pen.fillText(`${top} ${this.unit}`, 0, 13);
    let right = width;
    this.lines.forEach(({ name, colour }, i) => {
      const values = this.values[i];
      const last = values.at(-1);
      const words = `${name} ${last == null ? "–" : last < 10 ? last.toFixed(1) : Math.round(last)}`;
      pen.fillStyle = pen.strokeStyle = style.getPropertyValue(colour);
      right -= pen.measureText(words).width;
      pen.fillText(words, right, 13);
      right -= 12;
      pen.lineWidth = 2;
      pen.beginPath();
      let down = false;
      values.forEach((value, at) => {
        const x = width - ((values.length - 1 - at) * width) / (POINTS - 1);
        if (value !== null) down ? pen.lineTo(x, y(value)) : pen.moveTo(x, y(value));
        down = value !== null;
      });
      pen.stroke();
      pen.lineWidth = 1;
    });
  }
}

// The next of 1, 2, 5, 10, 20 …
function nice(value) {
  const tens = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * tens).find((one) => one >= value * 0.999);
}
