(function () {
  "use strict";
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const printed = 660; // pixels of text width on an A4 or letter page

  // Colours in the figures are names of CSS properties, so that the style sheet alone knows them.
  function resolved(value, style) {
    if (typeof value === "string") {
      const name = /^var\((--[a-z-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((part) => resolved(part, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolved(part, style)]));
    }
    return value;
  }

  function draw(width) {
    const style = getComputedStyle(root);
    for (const [name, chart] of Object.entries(charts)) {
      const place = document.getElementById("chart-" + name);
      const layout = resolved(chart.layout, style);
      layout.width = width || place.clientWidth;
      Plotly.react(place, resolved(chart.data, style), layout, { displayModeBar: false, scrollZoom: false });
    }
  }

  draw();
  let waiting = 0;
  let last = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === last || root.dataset.print !== undefined) return;
    last = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 100);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  window.addEventListener("beforeprint", () => {
    root.dataset.print = "";
    for (const each of document.querySelectorAll("details:not([open])")) {
      each.open = true;
      each.dataset.closed = "";
    }
    draw(printed);
  });
  window.addEventListener("afterprint", () => {
    delete root.dataset.print;
    for (const each of document.querySelectorAll("details[data-closed]")) {
      each.open = false;
      delete each.dataset.closed;
    }
    draw();
  });
})();
