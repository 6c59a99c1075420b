(() => {
  "use strict";

  /** @typedef {{id: string, seed: number, group: string, generation: ?number, evaluation: ?number, mask: ?string,
   *   kept: number[], values: Object<string, number[]>, chosen: boolean, holds: boolean}} Point */

  const data = JSON.parse(document.getElementById("report-data").textContent);
  const points = data.points;
  const byId = new Map(points.map((point) => [point.id, point]));
  const SVG = "http://www.w3.org/2000/svg";
  const REACH = 18; // pixels within which a pointer finds a point
  const STYLES = { search: "search", "random masks": "random", unpruned: "unpruned" };
  const VERDICTS = { better: "search better", worse: "search worse", "no difference": "no difference shown", equal: "equal in every seed", "too few": "too few seeds to tell" };
  const SHAPES = {
    search: "M4.2 0A4.2 4.2 0 1 1-4.2 0A4.2 4.2 0 1 1 4.2 0Z",
    random: "M0-4.6L4.4 3.4H-4.4Z",
    unpruned: "M-4.6-4.6H4.6V4.6H-4.6Z",
  };
  // Of further controls: four colours (other-0 to other-3) by five shapes tell twenty apart.
  const FURTHER = ["M0-5.4L5.4 0L0 5.4L-5.4 0Z", "M0 4.6L4.4-3.4H-4.4Z", "M-1.6-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z", "M-5-1.8H5V1.8H-5Z", "M-1.8-5H1.8V5H-1.8Z"];
  const others = data.groups.filter((group) => !STYLES[group]);
  const baselines = new Set(data.baselines);

  const state = {
    x: defaultAxis(true), y: defaultAxis(false), split: "test", arrows: false,
    seeds: new Set(data.seeds), groups: new Set(data.groups),
    picked: null, active: null, zoom: null, sort: { key: `${defaultAxis(false)}:select`, down: false },
  };

  // ---------------------------------------------------------------------------------------------- small helpers

  /** Makes an element; text is set as text, never parsed. */
  function make(space, name, attributes = {}, ...children) {
    const element = space ? document.createElementNS(space, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const html = (name, attributes, ...children) => make(null, name, attributes, ...children);
  const svg = (name, attributes, ...children) => make(SVG, name, attributes, ...children);
  const at = (id) => document.getElementById(id);

  function defaultAxis(horizontal) {
    const cost = Math.max(0, data.goals.findIndex((goal) => goal.is_cost));
    const other = data.goals.findIndex((goal, i) => i !== cost);
    return horizontal ? cost : Math.max(0, other);
  }

  const style = (group) => STYLES[group] || `other-${others.indexOf(group) % 4}`;
  const shape = (group) => SHAPES[STYLES[group]] || FURTHER[others.indexOf(group) % FURTHER.length];
  const named = (group) => (group === "search" ? "front of the search" : group);
  const value = (point, goal, split = state.split) => point.values[split][goal];
  const visible = (point) => state.seeds.has(point.seed) && state.groups.has(point.group);
  const shownPoints = () => points.filter(visible);
  const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

  function format(number) {
    return Math.abs(number) < 100 ? number.toFixed(3) : Math.round(number).toLocaleString("en");
  }

  /** Round numbers that span [low, high]. */
  function ticks(low, high, count) {
    const rough = (high - low) / Math.max(1, count) || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(v);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (`${step / power}`.includes(".") ? 1 : 0));
    return found.map((v) => ({ value: v, label: Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : v.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1") }));
  }

  /** A linear scale from [low, high] to [from, to]. */
  function linear(low, high, from, to) {
    const span = high - low || 1;
    return (v) => from + ((v - low) / span) * (to - from);
  }

  function padded([low, high], share = 0.04) {
    const pad = (high - low || Math.abs(high) || 1) * share;
    return [low - pad, high + pad];
  }

  /** The range of an objective over every split and group, so that points that move are seen to move. */
  const range = data.goals.map((_, goal) => extent(points.flatMap((p) => data.splits.map((s) => p.values[s][goal]))));

  function title(goal) {
    const { label, unit } = data.goals[goal];
    return `${label} [${unit}]`;
  }
  const better = (goal, less, more) => (data.goals[goal].minimise ? `${less} better` : `better ${more}`);

  /** A drawing as wide as its box; drawn again when the box changes its width. */
  function drawing(id, draw) {
    const box = at(id);
    if (!box) return;
    let width = 0;
    const again = () => {
      const now = Math.floor(box.clientWidth);
      if (now > 0 && now !== width) draw(box, (width = now));
    };
    new ResizeObserver(again).observe(box);
    again();
  }

  function canvas(width, height, attributes) {
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, ...attributes });
  }

  /** The words for a point that a screen reader says and a tooltip shows. */
  function words(point) {
    const values = data.goals.map((goal, i) => `${goal.label} ${format(value(point, i))}`);
    return { head: `${point.id} · ${named(point.group)}${point.chosen ? " · chosen" : ""}`, values };
  }

  // ---------------------------------------------------------------------------------------------- what is shared

  const views = [];
  const tell = (what) => views.forEach((view) => view[what] && view[what]());

  function pick(id) {
    state.picked = id;
    tell("mark");
    details();
  }
  function activate(id) {
    if (state.active === id) return;
    state.active = id;
    tell("mark");
  }

  /** Puts the classes and the ARIA state of one point's element right. */
  function marked(element, id) {
    element.classList.toggle("picked", id === state.picked);
    element.classList.toggle("active", id === state.active);
    if (element.getAttribute("role") === "option") element.setAttribute("aria-selected", id === state.picked);
  }

  /**
   * Pointer and keyboard for a picture of points.
   * @param {SVGElement} picture what has the focus
   * @param {function(number, number): ?Point} nearest the point at a place, in the picture's units
   * @param {function(string): Point[]} order the visible points in the order a key walks through
   * @param {function(Point): number[]} place where a point's tooltip goes
   * @param {function(): HTMLElement} tip the tooltip
   */
  function interactive(picture, { nearest, order, place, prefix, tip }) {
    const spot = (event) => {
      const box = picture.getBoundingClientRect();
      const scale = picture.viewBox.baseVal.width / box.width;
      return nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
    };
    const show = (point) => {
      activate(point ? point.id : null);
      hint(tip, point, point && place(point));
      if (point) picture.setAttribute("aria-activedescendant", prefix + points.indexOf(point));
      else picture.removeAttribute("aria-activedescendant");
    };
    picture.addEventListener("pointermove", (event) => show(spot(event)));
    picture.addEventListener("pointerleave", () => show(null));
    picture.addEventListener("click", (event) => {
      // What is lit is what is picked: a click is told in whole pixels, a move in fractions of them.
      const id = state.active || spot(event)?.id;
      if (id) pick(id);
    });
    picture.addEventListener("focus", () => {
      if (picture.matches(":focus-visible")) show(current(order("ArrowRight")));
    });
    picture.addEventListener("blur", () => show(null));
    picture.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        if (state.active) pick(state.active);
      } else if (event.key === "Escape") {
        pick(null);
      } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
        show(step(order(event.key), event.key));
      } else {
        return;
      }
      event.preventDefault();
    });
  }

  const current = (list) =>
    list.find((p) => p.id === state.active) || list.find((p) => p.id === state.picked) || list.find((p) => p.chosen) || list[0] || null;

  function step(list, key) {
    if (key === "Home") return list[0] || null;
    if (key === "End") return list[list.length - 1] || null;
    const here = list.indexOf(current(list));
    const move = key === "ArrowRight" || key === "ArrowUp" ? 1 : -1;
    return list[Math.min(list.length - 1, Math.max(0, here + move))] || null;
  }

  /** Shows or hides a tooltip beside a place, inside its box. */
  function hint(tip, point, place, lines = null) {
    tip.hidden = !point;
    if (!point) return;
    const { head, values } = lines || words(point);
    tip.replaceChildren(html("strong", {}, head), ...values.map((text) => html("span", {}, text)));
    const box = tip.parentElement;
    const [x, y] = place.map((each) => each * (box.clientWidth / Number(box.dataset.width)));
    const left = x + 14 + tip.offsetWidth > box.clientWidth ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, y - tip.offsetHeight / 2)}px`;
  }

  /** Fills a box with a drawing and a tooltip. */
  function fill(box, picture, width) {
    const tip = html("div", { class: "tip", "aria-hidden": "true" });
    tip.hidden = true;
    box.dataset.width = width;
    box.replaceChildren(picture, tip);
    return tip;
  }

  // ---------------------------------------------------------------------------------------------- controls

  function controls() {
    for (const [id, key] of [["axis-x", "x"], ["axis-y", "y"]]) {
      const select = at(id);
      select.append(...data.goals.map((goal, i) => html("option", { value: i }, goal.label)));
      select.value = state[key];
      select.addEventListener("change", () => {
        const other = key === "x" ? "y" : "x";
        const before = state[key];
        state[key] = Number(select.value);
        if (state[other] === state[key] && data.goals.length > 1) {
          state[other] = before; // two axes of one objective show nothing: they swap
          at(`axis-${other}`).value = before;
        }
        zoom(null);
      });
    }
    at("split").append(...data.splits.map((split) => option("radio", split, split === state.split, () => {
      state.split = split;
      tell("move");
      details();
    })));
    at("arrows").addEventListener("change", (event) => {
      state.arrows = event.target.checked;
      tell("move");
    });
    at("zoom-in").addEventListener("click", () => zoom(aroundChosen()));
    at("zoom-out").addEventListener("click", () => zoom(null));
    at("groups").append(...data.groups.map((group) => option("checkbox", named(group), true, toggle(state.groups, group), glyph(group))));
    const seeds = at("seeds");
    const boxes = data.seeds.map((seed) => option("checkbox", seed, true, toggle(state.seeds, seed)));
    seeds.append(...boxes);
    if (data.seeds.length > 2) seeds.append(all("all", true), all("none", false));
    if (data.seeds.length < 2) seeds.hidden = true;

    function all(label, on) {
      return html("button", { type: "button", onclick: () => {
        boxes.forEach((box) => { box.firstChild.checked = on; });
        state.seeds = new Set(on ? data.seeds : []);
        tell("show");
      } }, label);
    }
  }

  /** Looks at a part of the front, [x from, x to, y from, y to], or at all of it. */
  function zoom(part) {
    state.zoom = part;
    at("zoom-out").hidden = !part;
    at("zoom-in").hidden = Boolean(part);
    tell("move");
  }

  /** The box around the chosen members and controls on every split, with room about it. */
  function aroundChosen() {
    const chosen = shownPoints().filter((point) => point.chosen || baselines.has(point.group));
    if (!chosen.length) return null;
    return [state.x, state.y].flatMap((goal) => padded(extent(chosen.flatMap((p) => data.splits.map((s) => p.values[s][goal]))), 0.15));
  }

  /** A function that switches a name on or off, as its check box says. */
  function toggle(kind, name) {
    return (event) => {
      const set = kind === state.groups ? state.groups : state.seeds;
      if (event.target.checked) set.add(name);
      else set.delete(name);
      tell("show");
    };
  }

  function option(type, text, checked, onchange, picture = null) {
    const input = html("input", { type, name: type === "radio" ? "split" : null, value: text, onchange });
    input.checked = checked;
    return html("label", { class: "check" }, input, picture, picture ? ` ${text}` : `${text}`);
  }

  function glyph(group) {
    const mark = svg("g", { class: `point ${style(group)}` }, svg("path", { d: shape(group) }));
    return svg("svg", { class: "glyph", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, mark);
  }

  // ---------------------------------------------------------------------------------------------- the front

  function scatter() {
    const elements = new Map();
    let draw = () => {};
    drawing("scatter", (box, width) => {
      const height = Math.round(Math.max(300, Math.min(560, width * 0.66)));
      const margin = { left: 62, right: 16, top: 30, bottom: 50 };
      const picture = canvas(width, height, { role: "listbox", tabindex: 0, "aria-label": "The front as points; arrow keys move, Enter selects" });
      const axes = svg("g", { "aria-hidden": "true" });
      const shifts = svg("g", { "aria-hidden": "true" });
      const layer = svg("g", { class: "points" });
      const [wide, high] = [width - margin.left - margin.right, height - margin.top - margin.bottom];
      const clip = svg("clipPath", { id: "scatter-window" }, svg("rect", { x: margin.left - 8, y: margin.top - 8, width: wide + 16, height: high + 16 }));
      const inside = svg("g", { "clip-path": "url(#scatter-window)" }, shifts, layer);
      const inOrder = [...points].sort((a, b) => rank(a) - rank(b));
      for (const point of inOrder) {
        const element = svg("g", { class: `point ${style(point.group)}${point.chosen ? " chosen" : ""}`, role: "option", id: `point-${points.indexOf(point)}`, "data-id": point.id },
          svg("path", { d: shape(point.group) }), svg("circle", { class: "ring", r: 8 }));
        elements.set(point.id, element);
        layer.append(element);
      }
      picture.append(clip, axes, inside);
      const tip = fill(box, picture, width);
      let sx, sy;
      const place = (point, split = state.split) => [sx(value(point, state.x, split)), sy(value(point, state.y, split))];

      draw = () => {
        const [x, y] = state.zoom ? [state.zoom.slice(0, 2), state.zoom.slice(2)] : [padded(range[state.x]), padded(range[state.y])];
        sx = linear(...x, margin.left, width - margin.right);
        sy = linear(...y, height - margin.bottom, margin.top);
        axes.replaceChildren(...frame(width, height, margin, x, y, sx, sy));
        axes.append(...axisTitles(width, height, margin));
        for (const point of points) {
          const element = elements.get(point.id);
          const [px, py] = place(point);
          element.style.transform = `translate(${px.toFixed(1)}px, ${py.toFixed(1)}px)`;
          element.style.display = visible(point) ? "" : "none";
          const { head, values } = words(point);
          element.setAttribute("aria-label", `${head}: ${values.join(", ")}`);
        }
        shifts.replaceChildren(...(state.arrows ? shownPoints().filter((p) => p.group !== "random masks").map(arrow) : []));
        caption();
        mark();
      };
      const arrow = (point) => {
        const [from, to] = [place(point, "search"), place(point, "test")];
        const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
        const length = Math.hypot(dx, dy);
        if (length < 12) return svg("path", { class: `shift ${style(point.group)}`, d: `M${from}L${to}` });
        const [ux, uy] = [dx / length, dy / length];
        const tip = [to[0] - 5 * ux, to[1] - 5 * uy]; // outside the mark it leads to
        const [bx, by] = [tip[0] - 6 * ux, tip[1] - 6 * uy];
        const line = svg("path", { class: `shift ${style(point.group)}`, d: `M${from}L${tip}` });
        return svg("g", {}, line, svg("path", { class: "shift-head", d: `M${tip}L${bx - 2.5 * uy} ${by + 2.5 * ux}L${bx + 2.5 * uy} ${by - 2.5 * ux}Z` }));
      };
      interactive(picture, {
        prefix: "point-", tip, place,
        nearest: (x, y) => closest(inView(), (p) => Math.hypot(place(p)[0] - x, place(p)[1] - y), REACH),
        order: (key) => {
          const axis = key === "ArrowUp" || key === "ArrowDown" ? state.y : state.x;
          return inView().sort((a, b) => value(a, axis) - value(b, axis) || points.indexOf(a) - points.indexOf(b));
        },
      });
      function inView() {
        return shownPoints().filter((point) => {
          const [px, py] = place(point);
          return px >= margin.left - 5 && px <= margin.left + wide + 5 && py >= margin.top - 5 && py <= margin.top + high + 5;
        });
      }
      boxed(picture, ([x0, y0], [x1, y1]) => {
        const back = (scale, from, to) => (pixel) => from + ((pixel - scale(from)) / (scale(to) - scale(from))) * (to - from);
        const [bx, by] = [back(sx, ...range[state.x]), back(sy, ...range[state.y])];
        zoom([Math.min(bx(x0), bx(x1)), Math.max(bx(x0), bx(x1)), Math.min(by(y0), by(y1)), Math.max(by(y0), by(y1))]);
      });
      draw();
      requestAnimationFrame(() => layer.classList.add("moving"));
    });

    function mark() {
      elements.forEach((element, id) => marked(element, id));
      const top = elements.get(state.picked);
      if (top && top !== top.parentNode.lastChild) top.parentNode.append(top); // above its neighbours
    }
    function caption() {
      const shown = shownPoints();
      const text = `${shown.length.toLocaleString("en")} networks, measured on the ${state.split} split. Rings: chosen on select, seed by seed.`;
      at("scatter-caption").textContent = state.arrows ? `${text} Arrows lead from what the search saw to test.` : text;
    }
    return { move: () => draw(), show: () => draw(), mark };
  }

  /** Lets a mouse draw a box in a picture, and calls back with its corners; a finger scrolls the page instead. */
  function boxed(picture, done) {
    const rubber = svg("rect", { class: "rubber" });
    let from = null;
    const spot = (event) => {
      const bounds = picture.getBoundingClientRect();
      const scale = picture.viewBox.baseVal.width / bounds.width;
      return [(event.clientX - bounds.left) * scale, (event.clientY - bounds.top) * scale];
    };
    const isBox = (to) => Math.abs(to[0] - from[0]) > 12 && Math.abs(to[1] - from[1]) > 12;
    const end = () => {
      rubber.remove();
      from = null;
    };
    picture.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) from = spot(event);
    });
    picture.addEventListener("pointermove", (event) => {
      const to = spot(event);
      if (!from || !(event.buttons & 1) || !isBox(to)) return;
      rubber.setAttribute("x", Math.min(from[0], to[0]));
      rubber.setAttribute("y", Math.min(from[1], to[1]));
      rubber.setAttribute("width", Math.abs(to[0] - from[0]));
      rubber.setAttribute("height", Math.abs(to[1] - from[1]));
      picture.append(rubber);
    });
    picture.addEventListener("pointerup", (event) => {
      const to = spot(event);
      const corners = from && rubber.isConnected && isBox(to) ? [from, to] : null;
      end();
      if (corners) done(...corners);
    });
    picture.addEventListener("pointerleave", end);
  }

  /** Draws controls first, members above them, the chosen on top. */
  const rank = (point) => (point.group === "search" ? 2 : baselines.has(point.group) ? 1 : 0) + (point.chosen ? 3 : 0);

  function closest(list, distance, reach) {
    let best = null;
    let least = reach;
    for (const point of list) {
      const far = distance(point);
      if (far < least || (far === least && best && rank(point) > rank(best))) [best, least] = [point, far];
    }
    return best;
  }

  /** Grid lines and tick labels. */
  function frame(width, height, margin, x, y, sx, sy) {
    const [right, bottom] = [width - margin.right, height - margin.bottom];
    const across = ticks(...x, Math.min(8, width / 90)).map(({ value: v, label }) => [
      svg("path", { class: "grid", d: `M${Math.round(sx(v)) + 0.5} ${margin.top}V${bottom}` }),
      svg("text", { x: sx(v), y: bottom + 17, "text-anchor": "middle" }, label),
    ]);
    const up = ticks(...y, Math.min(7, height / 60)).map(({ value: v, label }) => [
      svg("path", { class: "grid", d: `M${margin.left} ${Math.round(sy(v)) + 0.5}H${right}` }),
      svg("text", { x: margin.left - 8, y: sy(v) + 4, "text-anchor": "end" }, label),
    ]);
    const lines = svg("path", { class: "frame", d: `M${margin.left + 0.5} ${margin.top}V${bottom + 0.5}H${right}` });
    return [...across.flat(), ...up.flat(), lines];
  }

  function axisTitles(width, height, margin) {
    const narrow = width < 480;
    const x = narrow ? data.goals[state.x].label : title(state.x);
    const y = narrow ? data.goals[state.y].label : title(state.y);
    return [
      svg("text", { class: "title", x: width - margin.right, y: height - 12, "text-anchor": "end" }, `${x}, ${better(state.x, "\u2190", "\u2192")}`),
      svg("text", { class: "title", x: 12, y: 18 }, `${y}, ${better(state.y, "\u2193", "\u2191")}`),
    ];
  }

  // ---------------------------------------------------------------------------------------------- parallel axes

  function parallel() {
    const elements = new Map();
    let draw = () => {};
    drawing("parallel", (box, width) => {
      const height = 300;
      const margin = { left: width < 480 ? 44 : 80, right: width < 480 ? 44 : 80, top: 44, bottom: 24 };
      const picture = canvas(width, height, { role: "listbox", tabindex: 0, "aria-label": "All objectives as lines; arrow keys move, Enter selects" });
      const axes = svg("g", { "aria-hidden": "true" });
      const layer = svg("g", {});
      layer.style.setProperty("--faint", Math.max(0.1, Math.min(0.5, 60 / points.length))); // many lines are seen through
      for (const point of [...points].sort((a, b) => rank(a) - rank(b))) {
        const element = svg("path", { class: `line ${style(point.group)}${point.chosen && point.group === "search" ? " chosen" : ""}`, role: "option", id: `line-${points.indexOf(point)}`, "data-id": point.id });
        elements.set(point.id, element);
        layer.append(element);
      }
      picture.append(layer, axes);
      const tip = fill(box, picture, width);
      const last = Math.max(1, data.goals.length - 1);
      const px = data.goals.map((_, i) => margin.left + (i / last) * (width - margin.left - margin.right));
      const scales = data.goals.map((goal, i) => {
        const ends = goal.minimise ? range[i] : [range[i][1], range[i][0]];
        return linear(...ends, margin.top, height - margin.bottom); // the better end on top
      });
      const heights = (point) => data.goals.map((_, i) => scales[i](value(point, i)));
      const between = (point, x) => {
        const ys = heights(point);
        const i = Math.max(0, Math.min(px.length - 2, px.findIndex((each, k) => x < px[k + 1])));
        if (px.length < 2) return ys[0];
        const share = Math.max(0, Math.min(1, (x - px[i]) / (px[i + 1] - px[i])));
        return ys[i] + share * (ys[i + 1] - ys[i]);
      };
      let last_x = px[0];

      draw = () => {
        for (const point of points) {
          const element = elements.get(point.id);
          element.setAttribute("d", `M${heights(point).map((y, i) => `${px[i].toFixed(1)} ${y.toFixed(1)}`).join("L")}`);
          element.style.display = visible(point) ? "" : "none";
          const { head, values } = words(point);
          element.setAttribute("aria-label", `${head}: ${values.join(", ")}`);
        }
        at("parallel-split").textContent = `Measured on the ${state.split} split.`;
        mark();
      };
      axes.append(...data.goals.flatMap((goal, i) => axis(goal, i)));
      function axis(goal, i) {
        const anchor = width < 480 ? (i === 0 ? "start" : i === last ? "end" : "middle") : "middle";
        const x = anchor === "start" ? 10 : anchor === "end" ? width - 10 : px[i];
        const marks = ticks(...range[i], 4).map(({ value: v, label }) => svg("text", {
          x: px[i] + (i === last && last > 0 ? 8 : -8), y: scales[i](v) + 4, "text-anchor": i === last ? "start" : "end", class: "halo" }, label));
        return [
          svg("path", { class: "frame", d: `M${Math.round(px[i]) + 0.5} ${margin.top}V${height - margin.bottom}` }),
          svg("text", { class: "strong", x, y: 18, "text-anchor": anchor }, goal.label),
          svg("text", { x, y: 33, "text-anchor": anchor }, goal.minimise ? "less is better" : "more is better"),
          ...marks,
        ];
      }
      interactive(picture, {
        prefix: "line-", tip,
        nearest: (x, y) => closest(shownPoints(), (p) => Math.abs(between(p, (last_x = x)) - y), REACH),
        order: () => shownPoints().sort((a, b) => heights(b)[0] - heights(a)[0] || points.indexOf(a) - points.indexOf(b)),
        place: (point) => [last_x, between(point, last_x)],
      });
      draw();
    });
    function mark() {
      elements.forEach((element, id) => marked(element, id));
      for (const id of [state.picked, state.active]) {
        const top = elements.get(id);
        if (top && top !== top.parentNode.lastChild) top.parentNode.append(top);
      }
    }
    return { move: () => draw(), show: () => draw(), mark };
  }

  // ---------------------------------------------------------------------------------------------- the table

  function members() {
    const columns = [
      { key: "id", head: "solution", text: true, of: (p) => p.id },
      { key: "group", head: "from", text: true, of: (p) => named(p.group) },
      { key: "seed", head: "seed", of: (p) => p.seed },
      { key: "evaluation", head: "found at", of: (p) => (p.evaluation === null ? -1 : p.evaluation), show: (p) => (p.evaluation === null ? "\u2013" : `${p.evaluation}`) },
      ...data.goals.flatMap((goal, i) => (goal.is_cost ? ["test"] : data.splits).map((split, k) => ({
        key: `${i}:${split}`, head: goal.is_cost ? "" : split, goal: i, first: k === 0, of: (p) => p.values[split][i], show: (p) => format(p.values[split][i]) }))),
    ];
    const cost = columns.find((column) => column.key === state.sort.key);
    if (!cost) state.sort.key = columns[4].key;
    const body = html("tbody", {});
    const heads = columns.map((column) => {
      const label = column.head || data.goals[column.goal].label;
      const button = html("button", { type: "button", "aria-label": `sort by ${column.goal === undefined ? "" : `${data.goals[column.goal].label} `}${column.head}`.trim(), onclick: () => sort(column.key) }, label);
      return html("th", { scope: "col", class: `${column.text ? "" : "number"}${column.first ? " first" : ""}` }, button);
    });
    const spans = data.goals.map((goal) => html("th", { class: "span first", scope: "colgroup", colspan: goal.is_cost ? 1 : data.splits.length }, goal.is_cost ? "" : goal.label));
    const rows = new Map(points.map((point) => [point.id, row(point)]));
    const note = html("span", {});
    at("member-table").append(html("table", {}, html("caption", {}, note),
      html("thead", {}, html("tr", {}, html("td", { colspan: 4 }), ...spans), html("tr", {}, ...heads)), body));
    let list = [];
    let holder = null;
    arrange();

    function row(point) {
      const cells = columns.map((column, i) => {
        const text = column.show ? column.show(point) : `${column.of(point)}`;
        const kind = `${column.text ? "" : "number"}${column.first ? " first" : ""}`;
        if (i > 0) return html("td", { class: kind }, text);
        const mark = point.chosen ? " \u25ce" : "";
        return html("td", { class: "id" }, html("button", { type: "button", tabindex: -1, "data-id": point.id, "aria-pressed": "false", "aria-label": point.chosen ? `${text}, chosen` : text }, text + mark));
      });
      return html("tr", { class: point.chosen ? "chosen" : "", "data-id": point.id }, ...cells);
    }
    function sort(key) {
      const same = state.sort.key === key;
      state.sort = { key, down: same ? !state.sort.down : false };
      arrange();
    }
    function arrange() {
      const column = columns.find((each) => each.key === state.sort.key);
      const sign = state.sort.down ? -1 : 1;
      const compare = (a, b) => (column.text ? `${column.of(a)}`.localeCompare(`${column.of(b)}`, "en", { numeric: true }) : column.of(a) - column.of(b));
      const sorted = [...points].sort((a, b) => sign * compare(a, b) || points.indexOf(a) - points.indexOf(b));
      list = sorted.filter(visible);
      sorted.forEach((point) => { rows.get(point.id).hidden = !visible(point); });
      body.replaceChildren(...sorted.map((point) => rows.get(point.id)));
      heads.forEach((head, i) => {
        const on = columns[i].key === state.sort.key;
        if (on) head.setAttribute("aria-sort", state.sort.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      note.textContent = `${list.length.toLocaleString("en")} networks; \u25ce chosen`;
      mark();
    }
    /** One row's button takes part in the order of Tab. */
    function hold(id) {
      if (holder) holder.tabIndex = -1;
      holder = rows.get(id) ? rows.get(id).querySelector("button") : null;
      if (holder) holder.tabIndex = 0;
    }
    function mark() {
      rows.forEach((element, id) => {
        marked(element, id);
        element.querySelector("button").setAttribute("aria-pressed", id === state.picked);
      });
      const wanted = list.find((p) => p.id === state.picked) || list[0];
      if (wanted && !body.contains(document.activeElement)) hold(wanted.id);
    }
    function reveal(id) {
      const element = rows.get(id);
      const box = at("member-table");
      if (!element || element.hidden || body.contains(document.activeElement)) return;
      box.scrollTop = element.offsetTop - box.clientHeight / 2; // inside its box: the page stays where it is
    }
    body.addEventListener("click", (event) => {
      const element = event.target.closest("tr");
      if (element) {
        pick(element.dataset.id);
        hold(element.dataset.id);
      }
    });
    body.addEventListener("pointerover", (event) => {
      const element = event.target.closest("tr");
      if (element) activate(element.dataset.id);
    });
    body.addEventListener("pointerleave", () => activate(null));
    body.addEventListener("focusin", (event) => activate(event.target.dataset.id));
    body.addEventListener("focusout", () => activate(null));
    body.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return pick(null);
      if (!["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return undefined;
      event.preventDefault();
      const here = list.findIndex((p) => p.id === event.target.dataset.id);
      const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: list.length - 1 }[event.key];
      const next = list[Math.max(0, Math.min(list.length - 1, to))];
      hold(next.id);
      holder.focus();
      return undefined;
    });
    return { show: arrange, mark, reveal: () => reveal(state.picked) };
  }

  // ---------------------------------------------------------------------------------------------- one member

  function details() {
    const box = at("details");
    const point = byId.get(state.picked);
    if (!point) {
      box.replaceChildren(html("p", {}, "Nothing is selected. Click a network in any view, or move there with the keyboard and press Enter."));
      return;
    }
    const found = point.evaluation === null ? (point.group === "search" ? "Made after the search, of what its front's members agree on." : "Not searched for: a control.")
      : `Found at evaluation ${point.evaluation.toLocaleString("en")}, generation ${point.generation}.`;
    box.replaceChildren(
      html("h3", {}, glyph(point.group), html("span", { class: "id" }, point.id)),
      html("p", {}, `Seed ${point.seed}, ${named(point.group)}. ${found}`),
      html("div", { class: "badges" }, ...badges(point)),
      html("h4", {}, "Objectives"), objectives(point),
      ...maskParts(point),
      ...weights(point),
      ...(point.evaluation === null && point.group !== "search" ? [] : exported(point)),
    );
    views.forEach((view) => view.reveal && view.reveal());
  }

  function badges(point) {
    const all = [];
    if (point.chosen) all.push(html("span", { class: "badge on" }, "chosen"));
    if (!baselines.has(point.group)) all.push(html("span", { class: "badge" }, point.holds ? "non-dominated on test too" : "dominated on test"));
    return all;
  }

  function objectives(point) {
    const head = html("tr", {}, html("th", { scope: "col" }, ""), ...data.splits.map((split) => html("th", { scope: "col", class: "number" }, split)));
    const rows = data.goals.map((goal, i) => html("tr", {}, html("th", { scope: "row" }, goal.label),
      ...data.splits.map((split) => html("td", { class: "number" }, format(point.values[split][i])))));
    return html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows));
  }

  /** Which bits of a mask are on. */
  function bits(point) {
    const nibbles = [...point.mask].map((digit) => parseInt(digit, 16));
    return (i) => (nibbles[i >> 2] >> (3 - (i & 3))) & 1;
  }

  function maskParts(point) {
    if (!point.mask) return [];
    const on = bits(point);
    let start = 0;
    return data.layers.flatMap((layer, i) => {
      const first = start;
      start += layer.width;
      const text = `${point.kept[i].toLocaleString("en")} of ${layer.width.toLocaleString("en")} kept`;
      return [
        html("h4", {}, layer.name, html("span", {}, text)),
        bitmap(layer.width, (k) => on(first + k), `${layer.name}: ${text}`),
      ];
    });
  }

  /** A mask as rows of squares; what is on is filled. */
  function bitmap(length, on, label) {
    const columns = Math.min(length <= 256 ? 32 : 64, length);
    const gap = length <= 512 ? 0.12 : 0;
    const square = (i) => `M${i % columns} ${Math.floor(i / columns)}h${1 - gap}v${1 - gap}h-${1 - gap}z`;
    const all = Array.from({ length }, (_, i) => i);
    return svg("svg", { class: "mask", viewBox: `0 0 ${columns} ${Math.ceil(length / columns)}`, role: "img", "aria-label": label },
      svg("path", { class: "off", d: all.filter((i) => !on(i)).map(square).join("") }),
      svg("path", { class: "on", d: all.filter(on).map(square).join("") }));
  }

  /** The units that matter most to a member that was explained. */
  function weights(point) {
    const found = data.attributions[point.id];
    if (!found) return [];
    const items = found.map(([unit, change]) => html("li", {}, html("span", {}, unit), html("span", {}, format(change))));
    return [html("h4", {}, "Most important units", html("span", {}, "ablation")), html("ul", { class: "weights" }, ...items)];
  }

  function exported(point) {
    const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`);
    const command = `moprune export ${quote(data.run)} --format state-dict --solution ${quote(point.id)}`;
    const code = html("code", {}, ...command.split(" ").flatMap((word) => [html("span", {}, word), " "]));
    const button = html("button", { type: "button", onclick: () => copy(command, code, button) }, "Copy");
    return [html("h4", {}, "As a network"), html("div", { class: "copy" }, code, button)];
  }

  async function copy(text, code, button) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // without a clipboard the text is marked, ready for the keys
      button.textContent = "Marked";
    }
  }

  // ---------------------------------------------------------------------------------------------- other figures

  function strips() {
    const chosen = points.filter((point) => point.chosen && point.group === "search" && point.mask);
    drawing("strips", (box, width) => {
      const narrow = width < 480;
      const [left, right, row, top] = [narrow ? 64 : 130, 12, 20, 26];
      const total = data.layers.reduce((sum, layer) => sum + layer.width, 0);
      const gap = 12;
      const unit = (width - left - right - gap * (data.layers.length - 1)) / total;
      const starts = [];
      data.layers.reduce((x, layer) => (starts.push(x), x + layer.width * unit + gap), left);
      const shared = data.layers.some((layer) => layer.shared) && chosen.length > 1;
      const height = top + chosen.length * row + (shared ? 44 : 8);
      const picture = canvas(width, height, { role: "img", class: "strip", "aria-label": `Units that the chosen members keep: ${chosen.map((p) => `${p.id} ${p.kept.join(" and ")}`).join("; ")}` });
      picture.append(...data.layers.map((layer, i) => svg("text", { class: "strong", x: starts[i], y: 16 }, `${layer.name} (${layer.width.toLocaleString("en")})`)));
      const counts = new Array(total).fill(0);
      chosen.forEach((point, k) => {
        const y = top + k * row;
        const on = bits(point);
        const label = narrow ? point.id : `${point.id}, keeps ${point.kept.reduce((a, b) => a + b, 0)}`;
        picture.append(svg("text", { x: left - 8, y: y + 13, "text-anchor": "end" }, label));
        let first = 0;
        data.layers.forEach((layer, i) => {
          picture.append(svg("rect", { class: "off", x: starts[i], y: y + 2, width: layer.width * unit, height: row - 5 }));
          let path = "";
          for (let u = 0; u < layer.width; u += 1) {
            if (!on(first + u)) continue;
            counts[first + u] += 1;
            path += `M${(starts[i] + u * unit).toFixed(2)} ${y + 2}h${(unit * (unit > 3 ? 0.85 : 1)).toFixed(2)}v${row - 5}h-${(unit * (unit > 3 ? 0.85 : 1)).toFixed(2)}z`;
          }
          picture.append(svg("path", { class: "on", d: path }));
          first += layer.width;
        });
      });
      if (shared) picture.append(...agreement(top + chosen.length * row + 6));
      fill(box, picture, width);

      function agreement(y) {
        const full = 30;
        const bars = [svg("text", { x: left - 8, y: y + full - 2, "text-anchor": "end" }, narrow ? "seeds" : "seeds that keep it")];
        let first = 0;
        data.layers.forEach((layer, i) => {
          for (let u = 0; u < layer.width && layer.shared; u += 1) {
            const tall = (counts[first + u] / chosen.length) * full;
            bars.push(svg("rect", { class: "bar", x: starts[i] + u * unit, y: y + full - tall, width: Math.max(0.4, unit * 0.85), height: tall }));
          }
          first += layer.width;
        });
        return bars;
      }
    });
    const caption = at("strips-caption");
    if (caption) caption.textContent = "One row a seed; a filled unit is kept. Features mean the same in every seed, so that columns can be compared; hidden neurons start from each seed\u2019s own weights and cannot.";
  }

  function curves() {
    drawing("curves", (box, width) => {
      const height = Math.round(Math.max(240, Math.min(380, width * 0.36)));
      const margin = { left: 54, right: 16, top: 34, bottom: 44 };
      const all = data.curves;
      const x = extent(all.flatMap((c) => c.evaluations));
      // From the first generation on; the height of what random search starts with would flatten all that follows.
      const y = padded(extent(all.flatMap((c) => [...c.low, ...c.high])), 0.05);
      const sx = linear(...x, margin.left, width - margin.right);
      const sy = linear(...y, height - margin.bottom, margin.top);
      const picture = canvas(width, height, { role: "img", "aria-label": all.map((c) => `${named(c.group)}: ${format(c.median[c.median.length - 1])} after ${c.evaluations[c.evaluations.length - 1]} evaluations`).join("; ") });
      picture.append(...frame(width, height, margin, x, y, sx, sy));
      picture.append(svg("text", { class: "title", x: width - margin.right, y: height - 8, "text-anchor": "end" }, "evaluations"),
        svg("text", { class: "title", x: 12, y: 18 }, "hypervolume"));
      const line = (curve, ys, back = false) => {
        const places = curve.evaluations.map((e, i) => `${sx(e).toFixed(1)} ${sy(ys[i]).toFixed(1)}`);
        return (back ? places.reverse() : places).join("L");
      };
      [...all].reverse().forEach((curve) => picture.append(
        svg("path", { class: `band ${style(curve.group)}`, d: `M${line(curve, curve.high)}L${line(curve, curve.low, true)}Z` })));
      [...all].reverse().forEach((curve) => picture.append(svg("path", { class: `curve ${style(curve.group)}`, d: `M${line(curve, curve.median)}` })));
      legend(picture, width);
      const cursor = svg("path", { class: "cursor" });
      picture.append(cursor);
      const tip = fill(box, picture, width);
      picture.addEventListener("pointermove", (event) => {
        const bounds = picture.getBoundingClientRect();
        const e = Math.round(((event.clientX - bounds.left) * (width / bounds.width) - margin.left) / (sx(1) - sx(0)) + x[0]);
        if (e < x[0] || e > x[1]) return leave();
        cursor.setAttribute("d", `M${sx(e)} ${margin.top}V${height - margin.bottom}`);
        const values = all.map((curve) => {
          const i = curve.evaluations.findLastIndex((each) => each <= e);
          return `${named(curve.group)} ${i < 0 ? "\u2013" : `${format(curve.median[i])} (${format(curve.low[i])} to ${format(curve.high[i])})`}`;
        });
        return hint(tip, true, [sx(e), margin.top + 60], { head: `after ${e.toLocaleString("en")} evaluations`, values });
      });
      function leave() {
        tip.hidden = true;
        cursor.removeAttribute("d");
      }
      picture.addEventListener("pointerleave", leave);
      function legend(to, right) {
        let at_x = right - margin.right;
        [...all].reverse().forEach((curve) => {
          const text = svg("text", { class: "title", x: at_x, y: 18, "text-anchor": "end" }, named(curve.group));
          at_x -= 7 * named(curve.group).length + 6;
          to.append(text, svg("path", { class: `curve ${style(curve.group)}`, d: `M${at_x - 22} 14H${at_x}` }));
          at_x -= 38;
        });
      }
    });
  }

  function differences() {
    const rows = data.differences;
    drawing("differences", (box, width) => {
      const narrow = width < 620;
      const [row, top] = [narrow ? 72 : 40, 30];
      const left = narrow ? 16 : 230;
      const right = narrow ? 16 : 150;
      const middle = (left + width - right) / 2;
      const half = (width - right - left) / 2;
      const height = top + rows.length * row + 8;
      const picture = canvas(width, height, { role: "img", "aria-label": "Differences between the search and its controls, seed by seed; the sentences below say the same" });
      picture.append(svg("text", { x: middle - 10, y: 18, "text-anchor": "end" }, "\u2190 control better"), svg("text", { x: middle + 10, y: 18 }, "search better \u2192"));
      rows.forEach((each, i) => {
        const y = top + i * row + (narrow ? 48 : 20);
        const sign = each.minimise ? -1 : 1;
        const widest = Math.max(1e-9, ...[...each.values, each.low || 0, each.high || 0].map(Math.abs));
        const sx = linear(-widest, widest, middle - half + 8, middle + half - 8);
        const shown = each.verdict === "better" || each.verdict === "worse";
        const verdict = VERDICTS[each.verdict];
        picture.append(
          svg("path", { class: "grid", d: `M${left} ${y}H${width - right}` }),
          svg("path", { class: "zero", d: `M${middle} ${y - 13}V${y + 13}` }),
          svg("text", { class: "strong", x: narrow ? 16 : left - 12, y: narrow ? y - 33 : y, "text-anchor": narrow ? "start" : "end" }, each.label),
          svg("text", { x: narrow ? 16 : left - 12, y: narrow ? y - 19 : y + 14, "text-anchor": narrow ? "start" : "end" }, `against ${each.against}`),
          svg("text", { class: shown ? "strong" : "", x: width - (narrow ? 16 : right - 12), y: narrow ? y - 19 : y, "text-anchor": narrow ? "end" : "start" }, verdict),
          narrow ? "" : svg("text", { x: width - right + 12, y: y + 14 }, `range \u00b1${Number(widest.toPrecision(2))}`),
          ...each.values.map((v) => svg("circle", { class: `dot ${style("search")}`, cx: sx(sign * v), cy: y, r: 4 })),
          each.low === null ? "" : svg("path", { class: "interval", d: `M${sx(sign * each.low)} ${y}H${sx(sign * each.high)}` }),
          svg("path", { class: "median", d: `M${sx(sign * each.median)} ${y - 6}l4 6l-4 6l-4-6z` }),
        );
      });
      fill(box, picture, width);
    });
  }

  function frequencies() {
    const box = at("frequencies");
    if (!box) return;
    data.frequencies.forEach((layer, k) => {
      const recurring = new Set(layer.recurring);
      const said = layer.tested
        ? `${recurring.size} of ${layer.units.length} units are kept more or less often than ancestry explains (q < 0.05, orange)${recurring.size ? `: ${layer.units.filter((u) => recurring.has(u)).slice(0, 20).join(", ")}` : ""}${recurring.size > 20 ? ", \u2026" : ""}.`
        : "Not tested: it takes five seeds, and units that mean the same in each of them.";
      box.append(html("h3", {}, layer.layer), html("figure", { class: "plot" }, html("div", { class: "canvas", id: `frequency-${k}` }),
        html("figcaption", {}, `Mean share of front members that keep each unit, most often first. Dark band: 95% of unrelated masks of the same sizes; light band: 95% of relatives if units did not matter. ${said}`)));
      drawing(`frequency-${k}`, (holder, width) => {
        const height = 240;
        const margin = { left: 54, right: 16, top: 34, bottom: 30 };
        const y = [0, Math.min(1, Math.max(...layer.frequency, layer.kin[1]) * 1.08)];
        const sx = linear(-1, layer.units.length, margin.left, width - margin.right);
        const sy = linear(...y, height - margin.bottom, margin.top);
        const picture = canvas(width, height, { role: "img", "aria-label": `${layer.layer}: ${said}` });
        const band = ([low, high], name) => svg("rect", { class: name, x: margin.left, width: width - margin.left - margin.right, y: sy(Math.min(high, y[1])), height: sy(low) - sy(Math.min(high, y[1])) });
        picture.append(...frame(width, height, margin, [1, 0], y, sx, sy), band(layer.kin, "kin"), band(layer.chance, "chance"),
          svg("text", { class: "title", x: 12, y: 18 }, "share of members"),
          svg("text", { class: "title", x: width - margin.right, y: height - 8, "text-anchor": "end" }, "units, most often kept first"),
          ...layer.units.map((unit, i) => svg("circle", { class: `dot search${recurring.has(unit) ? " recurring" : ""}`, cx: sx(i).toFixed(1), cy: sy(layer.frequency[i]).toFixed(1), r: layer.units.length > 300 ? 2 : 3.2 })));
        const tip = fill(holder, picture, width);
        picture.addEventListener("pointermove", (event) => {
          const bounds = picture.getBoundingClientRect();
          const share = ((event.clientX - bounds.left) * (width / bounds.width) - sx(0)) / (sx(1) - sx(0));
          const i = Math.max(0, Math.min(layer.units.length - 1, Math.round(share)));
          hint(tip, true, [sx(i), sy(layer.frequency[i])], { head: `unit ${layer.units[i]}`, values: [`kept by ${(100 * layer.frequency[i]).toFixed(0)}% of the members`, recurring.has(layer.units[i]) ? "recurs in independent seeds" : ""].filter(Boolean) });
        });
        picture.addEventListener("pointerleave", () => { tip.hidden = true; });
      });
    });
  }

  // ---------------------------------------------------------------------------------------------- all together

  controls();
  views.push(scatter(), parallel(), members());
  strips();
  curves();
  differences();
  frequencies();
  const first = points.find((point) => point.chosen && point.group === "search");
  pick(first ? first.id : null);
})();
