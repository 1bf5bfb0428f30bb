// What the reader chooses in a table: filter, limits, order, prices. It lives in the link (#v1;key=value;…), so that a
// copied link shows the same, and back goes back. Without this script a page shows all rows in their own order.
(function () {
  "use strict";
  var VERSION = "v1", BOX = document.querySelector("[data-reader]");
  if (!BOX) { return; }
  var table = document.querySelector("table.rows"), groups = [], status = BOX.querySelector("[data-status]");
  var state = {}, fields = Array.from(BOX.querySelectorAll("[name]")), originals = new Map();

  // ---- state in the link -------------------------------------------------------------------------------------------

  function read() {
    var words = location.hash.slice(1).split(";"), found = {};
    if (words.shift() !== VERSION) { return found; }
    words.forEach(function (word) {
      var at = word.indexOf("=");
      try { if (at > 0) { found[word.slice(0, at)] = decodeURIComponent(word.slice(at + 1)); } } catch (error) { /* a cut link */ }
    });
    return found;
  }

  function link(changes) {
    var words = [VERSION];
    Object.keys(changes).sort().forEach(function (key) {
      if (changes[key] !== "" && changes[key] !== standard(key)) { words.push(key + "=" + encodeURIComponent(changes[key])); }
    });
    return words.length > 1 ? "#" + words.join(";") : "";
  }

  function standard(key) {
    var field = fields.find(function (one) { return one.name === key; });
    return field ? field.dataset.standard || "" : "";
  }

  // A new entry in the history for a choice; while the reader types, the last one is rewritten.
  function choose(key, value, typing) {
    state[key] = value;
    history[typing ? "replaceState" : "pushState"](null, "", location.pathname + location.search + link(state));
    show();
  }

  function restore() {
    var given = read();
    state = { sort: given.sort || "" };
    fields.forEach(function (field) {
      state[field.name] = field.name in given ? given[field.name] : standard(field.name);
      if (field.type === "checkbox") { field.checked = state[field.name] === "1"; } else { field.value = state[field.name]; }
      if (field.type === "select-one" && field.value !== state[field.name]) { field.value = state[field.name] = standard(field.name); }
    });
    show();
  }

  // ---- rows --------------------------------------------------------------------------------------------------------

  // A row of figures and the row about it stay together.
  Array.from(table.tBodies).forEach(function (body) {
    var rows = Array.from(body.querySelectorAll("tr.first")).map(function (row, place) {
      return { row: row, about: row.nextElementSibling, place: place, text: (row.dataset.find || "").toLowerCase() };
    });
    groups.push({ body: body, rows: rows });
  });

  function number(text) {
    var value = parseFloat(String(text).replace(",", "."));
    return isFinite(value) ? value : null;
  }

  function figure(item, key) { return number(item.row.dataset[key]); }

  function passes(item, wanted) {
    var speed = figure(item, "speed"), power = figure(item, "power");
    return wanted.words.every(function (word) { return item.text.indexOf(word) >= 0; }) &&
      (wanted.least === null || (speed !== null && speed >= wanted.least)) &&
      (wanted.most === null || (power !== null && power <= wanted.most));
  }

  // Of each model on each system the setting with the lowest mean; those without a figure are kept, they say why.
  function best(items) {
    var lowest = new Map();
    items.forEach(function (item) {
      var key = item.row.dataset.pair, value = figure(item, "token"), other = lowest.get(key);
      if (value === null ? !other : !other || figure(other, "token") === null || value < figure(other, "token")) { lowest.set(key, item); }
    });
    return items.filter(function (item) { return lowest.get(item.row.dataset.pair) === item; });
  }

  function ordered(items) {
    var key = state.sort.replace(/^-/, ""), sign = state.sort.charAt(0) === "-" ? -1 : 1;
    return items.slice().sort(function (a, b) {
      var x = key ? figure(a, key) : a.place, y = key ? figure(b, key) : b.place;
      if (x === y) { return a.place - b.place; }
      if (x === null || y === null) { return x === null ? 1 : -1; }
      return (x - y) * (key ? sign : 1);
    });
  }

  function show() {
    var wanted = {
      words: state.find.toLowerCase().split(/\s+/).filter(Boolean), least: number(state.least), most: number(state.most)
    }, shown = 0, all = 0;
    groups.forEach(function (group) {
      var left = group.rows.filter(function (item) { return passes(item, wanted); });
      if (state.best === "1") { left = best(left); }
      group.rows.forEach(function (item) {
        var hide = left.indexOf(item) < 0;
        item.row.hidden = hide;
        if (item.about) { item.about.hidden = hide; }
      });
      ordered(group.rows).forEach(function (item) {
        group.body.appendChild(item.row);
        if (item.about) { group.body.appendChild(item.about); }
      });
      group.body.hidden = !left.length;
      shown += left.length;
      all += group.rows.length;
    });
    heads();
    prices();
    status.textContent = shown === all ? all + " rows" : shown + " of " + all + " rows" + (shown ? "" : ": no setting is within these limits");
  }

  function heads() {
    table.querySelectorAll("th[data-sort]").forEach(function (head) {
      var key = head.dataset.sort, up = state.sort === key, down = state.sort === "-" + key;
      head.setAttribute("aria-sort", up ? "ascending" : down ? "descending" : "none");
    });
  }

  table.querySelectorAll("th[data-sort]").forEach(function (head) {
    var button = document.createElement("button"), key = head.dataset.sort;
    button.type = "button";
    button.className = "sort";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      choose("sort", state.sort === key ? "-" + key : state.sort === "-" + key ? "" : key);
    });
  });

  // ---- prices: joules of a run as what they cost, derived from figures that the reader gives ------------------------

  var KINDS = {
    wh: { unit: function () { return "Wh"; }, factor: function () { return 1; } },
    money: { unit: function () { return state.currency || "money"; }, factor: function () { return price("price", 1e-3); } },
    carbon: { unit: function () { return "gCO\u2082e"; }, factor: function () { return price("grid", 1e-3); } }
  };

  function price(key, scale) { var value = number(state[key]); return value === null || value < 0 ? null : value * scale; }

  function short(value) {
    var size = Math.abs(value);
    if (value !== 0 && (size < 1e-3 || size >= 1e7)) { return value.toExponential(2); }
    return String(Number(value.toPrecision(3)));
  }

  // The interval with two digits, the mean as finely.
  function both(value, half) {
    var digits = half > 0 ? 1 - Math.floor(Math.log10(half)) : 0;
    return half > 0 && digits >= 0 && digits <= 8 ? [value.toFixed(digits), half.toFixed(digits)] : [short(value), short(half)];
  }

  function prices() {
    var head = table.querySelector("th[data-energy]"), kind = KINDS[state.as], pue = price("pue", 1), day = price("day", 1);
    if (!head) { return; }
    var place = head.querySelector("button") || head, requests = day === null ? 1000 : day;
    if (!originals.has(head)) { originals.set(head, place.textContent); }
    BOX.querySelectorAll("[data-for]").forEach(function (part) {
      part.hidden = part.dataset.for.split(" ").indexOf(state.as) < 0;
    });
    place.textContent = kind ? kind.unit() + (day === null ? " per 1,000 requests" : " a day") : originals.get(head);
    groups.forEach(function (group) {
      group.rows.forEach(function (item) {
        var cell = item.row.querySelector("[data-joules]");
        if (!originals.has(cell)) { originals.set(cell, Array.from(cell.childNodes)); }
        if (!kind) { cell.replaceChildren.apply(cell, originals.get(cell)); return; }
        var joules = figure(item, "joules"), half = figure(item, "half"), batch = figure(item, "batch"), factor = kind.factor();
        var scale = factor === null || joules === null || batch === null ? null : factor / 3600 / batch * requests * (pue || 1);
        cell.replaceChildren();
        var words = document.createElement("span");
        words.className = "num";
        var shown = scale === null ? ["\u2013"] : half === null ? [short(joules * scale)] : both(joules * scale, half * scale);
        words.textContent = shown[0];
        cell.appendChild(words);
        if (shown.length > 1) {
          var pm = document.createElement("span");
          pm.className = "pm";
          pm.textContent = " \u00b1 " + shown[1];
          words.appendChild(pm);
        }
      });
    });
    var said = BOX.querySelector("[data-derived]");
    said.hidden = !kind;
    if (kind) {
      said.textContent = "Derived: joules of a run / 3600 / rows of its batch \u00d7 " + (day === null ? "1,000 requests" : short(day) + " requests a day") +
        (state.as === "money" ? " \u00d7 " + (number(state.price) === null ? "a price that you give" : short(number(state.price)) + " " + (state.currency || "money") + "/kWh") : "") +
        (state.as === "carbon" ? " \u00d7 " + (number(state.grid) === null ? "a grid intensity that you give" : short(number(state.grid)) + " gCO\u2082e/kWh") : "") +
        (pue === null ? "; without PUE" : " \u00d7 PUE " + short(pue)) + ". Of the components in each row alone.";
    }
  }

  // ---- copies ------------------------------------------------------------------------------------------------------

  function cellText(cell) { return cell.textContent.replace(/\s+/g, " ").trim().replace(/[\\|`*_<>\[\]]/g, "\\$&"); }

  function markdown() {
    var heads = Array.from(table.tHead.rows[0].cells).filter(function (cell) { return !cell.classList.contains("axis-label"); });
    var lines = [];
    groups.forEach(function (group) {
      var items = Array.from(group.body.querySelectorAll("tr.first")).filter(function (row) { return !row.hidden; });
      if (!items.length) { return; }
      lines.push("**" + cellText(group.body.querySelector(".section strong")) + "** " + Array.from(group.body.querySelectorAll(".section .note")).map(cellText).join(" "), "");
      lines.push("| " + heads.map(cellText).join(" | ") + " |", "|" + heads.map(function () { return " --- |"; }).join(""));
      items.forEach(function (row) {
        var cells = Array.from(row.cells).filter(function (cell) { return !cell.classList.contains("axis"); });
        lines.push("| " + cells.map(cellText).join(" | ") + " |");
      });
      lines.push("");
    });
    var derived = BOX.querySelector("[data-derived]");
    if (!derived.hidden) { lines.push(derived.textContent, ""); }
    lines.push("Source: " + location.href);
    return lines.join("\n") + "\n";
  }

  BOX.querySelectorAll("[data-take]").forEach(function (button) {
    var name = button.textContent;
    button.addEventListener("click", function () {
      var text = button.dataset.take === "link" ? location.href : markdown();
      function done(word) {
        button.textContent = word;
        setTimeout(function () { button.textContent = name; }, 1500);
      }
      var shown = BOX.querySelector("[data-copied]");
      function by_hand() {
        shown.hidden = false;
        shown.value = text;
        shown.select();
        done("Copy it from the box");
      }
      if (navigator.clipboard) { navigator.clipboard.writeText(text).then(function () { done("Copied"); }, by_hand); } else { by_hand(); }
    });
  });

  fields.forEach(function (field) {
    var typing = field.type === "text" || field.type === "number" || field.type === "search";
    field.addEventListener(typing ? "input" : "change", function () {
      choose(field.name, field.type === "checkbox" ? (field.checked ? "1" : "0") : field.value.trim(), typing);
    });
  });
  BOX.querySelector("[data-reset]").addEventListener("click", function () {
    history.pushState(null, "", location.pathname + location.search);
    restore();
  });
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  restore();
  BOX.open = matchMedia("(min-width: 700px)").matches || link(state) !== "";
})();
