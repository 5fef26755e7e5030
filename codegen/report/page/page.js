"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const names = ["rule", "variant", "target", "mode", "numerics", "dtype", "part", "kind"];
  const cells = data.cells.map(row => {
    const cell = Object.fromEntries(names.map((name, i) => [name, data.texts[row[i]]]));
    const [ratio, error, bound, elements, note, command, histogram, worst] = row.slice(names.length);
    return Object.assign(cell, {
      ratio: ratio < 0 ? Infinity : ratio, error, bound, elements, note: data.texts[note], command: data.texts[command],
      histogram: data.histograms[histogram], worst: data.worst[worst],
    });
  });
  const order = data.kinds.map(([kind]) => kind);
  const signs = Object.fromEntries(data.kinds.map(([kind, sign]) => [kind, sign]));
  const meanings = Object.fromEntries(data.kinds.map(([kind, , meaning]) => [kind, meaning]));
  const byId = id => document.getElementById(id);

  /* An element: make("td", {class: "right"}, "text", child). No markup is ever taken from the data. */
  function make(tag, attributes = {}, ...children) {
    const node = tag === "svg" || svg.has(tag)
      ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter(child => child !== null && child !== undefined));
    return node;
  }
  const svg = new Set(["rect", "line", "text"]);

  const chosen = { dtype: new Set(data.dtypes), target: new Set(data.targets), kind: new Set(order), rule: "" };

  function filters() {
    const present = order.filter(kind => cells.some(cell => cell.kind === kind));
    for (const [what, title, values] of [["dtype", "dtype", data.dtypes], ["target", "target", data.targets],
      ["kind", "class", present]]) {
      const set = make("fieldset", {}, make("legend", {}, title));
      for (const value of values) {
        const box = make("input", {
          type: "checkbox", checked: true, name: what, value,
          onchange: event => { chosen[what][event.target.checked ? "add" : "delete"](value); draw(); },
        });
        const label = what === "kind" ? `${signs[value]} ${value}` : value;
        set.append(make("label", { class: "chip", title: meanings[value] }, box, label));
      }
      byId("filters").append(set);
    }
    byId("filters").append(make("fieldset", {}, make("legend", {}, make("label", { for: "rule" }, "rule")), make("input", {
      type: "search", id: "rule", name: "rule", placeholder: "part of its name",
      oninput: event => { chosen.rule = event.target.value.trim().toLowerCase(); draw(); },
    })));
    byId("filters").addEventListener("submit", event => event.preventDefault());
  }

  const visible = () => cells.filter(cell => chosen.dtype.has(cell.dtype) && chosen.target.has(cell.target)
    && chosen.kind.has(cell.kind) && cell.rule.toLowerCase().includes(chosen.rule));
  const byClass = (a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || b.ratio - a.ratio;
  const shown = ratio => ratio === Infinity ? "∞" : ratio < 1000 ? ratio.toFixed(2) : ratio.toExponential(1).replace("+", "");

  function draw() {
    const found = visible(), groups = new Map();
    for (const cell of found) {
      const key = `${cell.rule}/${cell.target}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(cell);
    }
    const targets = data.targets.filter(target => chosen.target.has(target));
    const rules = data.rules.filter(rule => targets.some(target => groups.has(`${rule}/${target}`)));
    byId("counted").textContent = found.length === cells.length ? "" : `${found.length} of ${cells.length} cells shown.`;
    byId("shown").textContent = found.length === cells.length ? "" : "Of the cells shown.";
    const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "rule"),
      ...targets.map(target => make("th", { scope: "col" }, target))));
    const body = make("tbody");
    for (const rule of rules) {
      const row = make("tr", {}, make("th", { scope: "row" }, rule));
      for (const target of targets) row.append(field(rule, target, groups.get(`${rule}/${target}`)));
      body.append(row);
    }
    if (!rules.length) body.append(make("tr", {}, make("td", { class: "empty" }, "No cell is left: choose more above.")));
    byId("matrix").replaceChildren(head, body);
    byId("matrix").style.setProperty("--columns", targets.length);
    histograms(found);
  }

  function field(rule, target, group) {
    if (!group) return make("td", { class: "empty", "data-target": target }, target in data.missing ? "did not run" : "");
    const lowest = [...group].sort(byClass)[0].kind;
    const ratio = Math.max(...group.map(cell => cell.ratio));
    const count = group.length === 1 ? "1 cell" : `${group.length} cells`;
    const number = lowest === "SKIP" ? "" : shown(ratio);
    return make("td", { "data-target": target }, make("button", {
      type: "button", class: `field ${lowest}`, onclick: event => open(rule, target, group, event.currentTarget),
      "aria-label": `${rule}, ${target}: ${lowest}, ${meanings[lowest]}${number && `; error ${number} of its bound`}; ${count}`,
    }, make("span", { "aria-hidden": "true" }, signs[lowest]), make("span", {}, lowest),
      make("span", { class: "number" }, number), make("small", {}, count)));
  }

  function moved(event) {
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const from = event.target.closest && event.target.closest("td");
    if (!by || !from) return;
    const rows = [...byId("matrix").tBodies[0].rows], width = rows[0].cells.length;
    let y = from.parentNode.rowIndex - 1, x = from.cellIndex;
    do {
      y += by[0];
      x += by[1];
      const next = rows[y] && x > 0 && x < width && rows[y].cells[x].querySelector("button");
      if (next) { next.focus(); event.preventDefault(); return; }
    } while (rows[y] && x > 0 && x < width);
    event.preventDefault();
  }

  /* Histograms of log2 ULP. The two ends hold what is beyond them. */
  const LOW = -16, HIGH = 15;
  function added(found) {
    const counts = new Map();
    for (const cell of found) for (const [k, n] of cell.histogram) counts.set(k, (counts.get(k) || 0) + n);
    return counts;
  }

  function bars(counts, title) {
    const total = [...counts.values()].reduce((a, b) => a + b, 0);
    const first = Math.min(-8, ...counts.keys()), last = Math.max(3, ...counts.keys()), width = 480, height = 150, base = 118;
    const step = (width - 8) / (last - first + 1), most = Math.max(1, ...counts.values());
    const picture = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${words(counts, total)}` });
    for (let k = first; k <= last; k++) {
      const n = counts.get(k) || 0, x = 4 + (k - first) * step;
      const tall = n && Math.max(1.5, n / most * (base - 8));
      const bar = make("rect", { class: "bar", x: x + 1, y: base - tall, width: step - 2, height: tall });
      const span = k === LOW ? `below 2^${k + 1}` : k === HIGH ? `2^${k} and more` : `2^${k} to 2^${k + 1}`;
      const tip = document.createElementNS("http://www.w3.org/2000/svg", "title");
      tip.textContent = `${span} ULP: ${n} (${(100 * n / Math.max(total, 1)).toFixed(1)} %)`;
      bar.append(tip);
      picture.append(bar);
      if ((k - first) % Math.ceil((last - first + 1) / 12) === 0 || k === -1)
        picture.append(make("text", { x: Math.max(x, 10), y: base + 14, "text-anchor": "middle" }, k));
    }
    picture.append(make("line", { class: "axis", x1: 4, x2: width - 4, y1: base, y2: base }));
    picture.append(make("text", { x: width / 2, y: height - 5, "text-anchor": "middle" }, "log2 of the error in ULP"));
    return picture;
  }

  function words(counts, total) {
    const within = [...counts].filter(([k]) => k < -1).reduce((sum, [, n]) => sum + n, 0);
    return `${total.toLocaleString("en")} results, ${(100 * within / Math.max(total, 1)).toFixed(1)} % off by less than half a unit`;
  }

  function histograms(found) {
    const figures = data.dtypes.filter(dtype => chosen.dtype.has(dtype)).map(dtype => {
      const counts = added(found.filter(cell => cell.dtype === dtype));
      const total = [...counts.values()].reduce((a, b) => a + b, 0);
      if (!total) return null;
      return make("figure", {}, make("figcaption", {}, dtype, " ", make("span", {}, words(counts, total))), bars(counts, dtype));
    }).filter(Boolean);
    byId("histograms").replaceChildren(...(figures.length ? figures : [make("p", { class: "hint" }, "None is recorded.")]));
  }

  /* One field, opened. */
  function open(rule, target, group, from) {
    const sorted = [...group].sort(byClass), dialog = byId("details");
    const worst = make("div", { id: "worst", "aria-live": "polite" });
    const rows = sorted.map((cell, i) => {
      const label = [cell.variant, cell.mode, cell.numerics, cell.dtype, cell.part].join(" / ");
      const button = make("button", { type: "button", onclick: () => { select(i); worst.scrollIntoView({ block: "nearest" }); } }, label);
      return make("tr", {}, make("td", {}, mark(cell.kind)), make("td", {}, button),
        make("td", { class: "right number" }, cell.kind === "SKIP" ? "" : shown(cell.ratio)),
        make("td", { class: "right number wide" }, cell.kind === "SKIP" ? "" : cell.error.toFixed(2)));
    });
    function select(i) {
      rows.forEach((row, j) => row.setAttribute("aria-selected", String(i === j)));
      worst.replaceChildren(...described(sorted[i]));
    }
    const heading = make("tr", {}, make("th", {}, "class"), make("th", {}, "variant / mode / numerics / dtype / part"),
      make("th", { class: "right" }, "error/bound"), make("th", { class: "right wide" }, "median ULP"));
    const close = make("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Close (Esc)");
    dialog.replaceChildren(
      make("div", { class: "bar-top" }, make("h2", { id: "details-title" }, `${rule} in ${target}`), close),
      make("div", { class: "inside" }, worst, make("h3", {}, `All ${sorted.length} cells`),
        make("table", { class: "list" }, make("thead", {}, heading), make("tbody", {}, ...rows))));
    select(0);
    dialog.onclose = () => from.isConnected && from.focus();
    dialog.showModal();
    dialog.scrollTop = 0;
    close.focus();
  }

  const mark = kind => make("span", { class: `mark ${kind}`, title: meanings[kind] }, `${signs[kind]} ${kind}`);

  function described(cell) {
    const label = [cell.variant, cell.mode, cell.numerics, cell.dtype, cell.part].join(" / ");
    const parts = [make("h3", {}, mark(cell.kind), " ", label), make("p", { class: "hint" }, meanings[cell.kind])];
    if (cell.note) parts.push(make("p", { class: "note" }, cell.note));
    if (cell.kind !== "SKIP") parts.push(make("p", { class: "command" }, make("code", {}, cell.command), copier(cell.command)));
    if (!cell.worst) return parts;
    const [element, output, step, actual, digits, bound, part, numbers, inputs, shape, index, settings] = cell.worst;
    const at = index.length ? `, element [${index.join(", ")}] of a tensor of shape [${shape.join(", ")}]` : "";
    const text = name => data.texts[name];
    parts.push(make("h3", {}, "Worst case"),
      make("p", { class: "hint" }, `${text(output)} at t = ${step}: corpus ${text(element)}${at}`
        + (text(part) ? ` (${text(part)}, numbers “${text(numbers)}”)` : "")));
    const lines = Object.entries(inputs).map(([name, value]) => [name === "w" || name === "g" ? name : `${name} before`, value]);
    const given = Object.entries(text(settings));
    if (!lines.length) parts.push(make("p", { class: "hint" }, "An older optloom made this report: it has no inputs."));
    parts.push(rowsOf("inputs", ["", "hexadecimal", "decimal"], lines.map(([name, value]) => [name, value, decimal(value)])));
    parts.push(rowsOf("result", ["", "exactly", "decimal"], [
      ["computed", actual, decimal(actual)], ["oracle", digits, ""],
      ["error / bound", shown(cell.ratio), bound === null || bound === undefined ? "" : `bound ${bound.toPrecision(4)}`],
    ]));
    if (given.length) parts.push(rowsOf("settings", ["", "hexadecimal", "decimal"], given.map(([name, value]) =>
      [name, String(value), typeof value === "string" && value.includes("0x") ? decimal(value) : ""])));
    if (cell.histogram.length) parts.push(make("h3", {}, "Errors of this cell on ordinary inputs, in ULP"),
      bars(added([cell]), label));
    return parts.filter(Boolean);
  }

  function rowsOf(title, headings, lines) {
    if (!lines.length) return null;
    return make("table", { class: "list facts" }, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, title),
      ...headings.slice(1).map((heading, i) => make("th", { scope: "col", class: i ? "wide" : "" }, heading)))),
    make("tbody", {}, ...lines.map(([name, ...values]) => make("tr", {}, make("th", { scope: "row" }, name),
      ...values.map((value, i) => make("td", { class: i ? "number wide" : "number" }, value))))));
  }

  function copier(text) {
    return make("button", {
      type: "button", class: "plain",
      onclick: async event => {
        const button = event.currentTarget;
        try { await navigator.clipboard.writeText(text); } catch { getSelection().selectAllChildren(button.previousSibling); }
        button.textContent = "Copied";
      },
    }, "Copy");
  }

  /* `-0x1.8p-3` as a decimal; a double holds every number of the four dtypes. */
  function decimal(text) {
    const found = /^(-?)0x([01])(?:\.([0-9a-f]+))?p([+-]\d+)$/.exec(text);
    if (!found) return text;
    const [, sign, whole, fraction = "", exponent] = found;
    let value = Number(BigInt("0x" + whole + fraction)), power = Number(exponent) - 4 * fraction.length;
    for (; power < -1000; power += 60) value *= 2 ** -60;
    value *= 2 ** power;
    return String(sign ? -value : value);
  }

  function heading() {
    byId("verdict").textContent = data.passed ? "passed" : cells.length ? "failed" : "judged nothing";
    byId("verdict").className = `mark ${data.passed ? "BIT" : "FAIL"}`;
    const counts = order.map(kind => [kind, cells.filter(cell => cell.kind === kind).length]).filter(([, n]) => n);
    byId("summary").append(`${cells.length} cells, corpus ${data.corpus.slice(0, 12)}${data.extent && `, extent ${data.extent}`}:`);
    byId("classes").append(...counts.map(([kind, n]) => make("li", {}, mark(kind), ` ${n} ${meanings[kind]}`)));
    const said = [...Object.entries(data.missing).map(([name, why]) => `${name} did not run: ${why}`), ...data.stale];
    if (said.length) byId("notes").append(make("h2", {}, "Also"), ...said.map(text => make("p", { class: "note" }, text)));
  }

  heading();
  filters();
  draw();
  byId("matrix").addEventListener("keydown", moved);
  byId("details").addEventListener("click", event => event.target === byId("details") && byId("details").close());
  performance.mark("interactive");
}
