/* The slider of tpccma/figures/slider.py: one cloud, a column of the table and captions follow it. Asks for nothing. */
"use strict";

const unpackCloud = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const numbers = new Int16Array(bytes.buffer), half = numbers.length / 2; // little-endian, as machines are
  const points = (start) => Array.from({ length: half / 2 }, (_, i) => [numbers[start + 2 * i], -numbers[start + 2 * i + 1]]);
  return [points(0), points(half)];
};

const dots = (points) => points.map(([x, y]) => `M${x} ${y}h0`).join("");
const triangles = (points, size = 11) =>
  points.map(([x, y]) => `M${x - size} ${y + size}h${2 * size}l${-size} ${-2 * size}z`).join("");
const mean = (points) => [0, 1].map((i) => Math.round(points.reduce((sum, point) => sum + point[i], 0) / points.length));

const svg = (name, attributes, parent) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return parent.appendChild(made);
};

/* A measure over all stops as a line, from its smallest to its largest value, and a dot that can be moved. */
const drawCourse = (cell, values) => {
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const at = (i) => `${((100 * i) / (values.length - 1)).toFixed(1)} ${(20 - (20 * (values[i] - low)) / span).toFixed(1)}`;
  const box = svg("svg", { viewBox: "-8 -5 116 30", preserveAspectRatio: "none" }, cell);
  svg("path", { class: "line", d: `M${values.map((_, i) => at(i)).join("L")}` }, box);
  const dot = svg("path", { class: "dot" }, box);
  return (i) => dot.setAttribute("d", `M${at(i)}h0`);
};

const startSlider = (root) => {
  const find = (selector) => root.querySelector(selector), all = (selector) => [...root.querySelectorAll(selector)];
  const { joined, stops } = JSON.parse(find("script").textContent);
  const clouds = stops.map((stop) => unpackCloud(stop.cloud));
  const range = find("input"), [panel, after] = all(".gap-slider-panel"), drawing = panel.querySelector("svg");
  const path = (name) => drawing.querySelector(`path[class="${name}"]`);
  all("[hidden]").forEach((part) => (part.hidden = false));
  after.hidden = true;
  root.classList.add("live");
  ["mean images", "mean texts"].forEach((name) => {
    const ghost = path(name).cloneNode(); // where the base's means are
    ghost.setAttribute("class", `${name} ghost`);
    path("pairs").before(ghost);
  });
  const parts = ["pairs", "images", "texts", "mean images", "mean texts"].map(path);
  const courses = all(".course").map((cell, row) => drawCourse(cell, stops.map((stop) => parseFloat(stop.values[row]))));

  const show = () => {
    const place = Number(range.value), stop = stops[place], [images, texts] = clouds[place];
    const lines = images.slice(0, joined).map((point, i) => `M${point.join(" ")}L${texts[i].join(" ")}`).join("");
    const drawn = [lines, dots(images), triangles(texts), dots([mean(images)]), triangles([mean(texts)], 26)];
    parts.forEach((part, i) => part.setAttribute("d", drawn[i]));
    range.setAttribute("aria-valuetext", stop.name);
    find(".gap-slider-controls output").textContent = stop.name;
    panel.querySelector("p").textContent = stop.name;
    drawing.setAttribute("aria-label", `Clouds of pictures and texts at ${stop.name}`);
    all(".here").forEach((cell, row) => (cell.textContent = stop.values[row]));
    courses.forEach((move) => move(place));
    all(".gap-slider-captions li").forEach((item, i) => {
      item.querySelector("span").textContent = stop.captions[i];
      item.classList.toggle("right", stop.right[i]);
    });
    find(".gap-slider-captions output").textContent = stop.right.filter(Boolean).length;
  };
  range.addEventListener("input", show);
  show();
};

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".gap-slider").forEach(startSlider));
