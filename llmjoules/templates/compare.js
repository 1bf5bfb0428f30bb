// Compares settings that the reader picks. The choice lives in the link (#v1;s=key,key); the figures come in a data file.
(function () {
  "use strict";
  var VERSION = "v1", box = document.querySelector("[data-compare]"), list = [], byKey = new Map(), byName = new Map();
  var chosen = [], pick = box.querySelector("[data-pick]"), out = box.querySelector("[data-result]"), says = box.querySelector("[data-says]");

  // Called by the data file. rows: one object per setting and component.
  window.LJ = {
    rows: function (rows) {
      list = rows;
      var options = box.querySelector("datalist");
      rows.forEach(function (row) {
        byKey.set(row.key, row);
        while (byName.has(row.name)) { row.name += " "; }
        byName.set(row.name, row);
        var option = document.createElement("option");
        option.value = row.name;
        options.appendChild(option);
      });
      restore();
    }
  };

  // ---- arithmetic ---------------------------------------------------------------------------------------------------

  // 97.5 % points of Student's t for 1 to 30 degrees of freedom; above by the expansion of Cornish and Fisher.
  var T = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423];

  function t975(degrees) {
    var z = 1.959964;
    if (degrees < 30) {  // the next lower whole number: never too narrow
      return T[Math.max(1, Math.floor(degrees)) - 1];
    }
    return z + (z * z * z + z) / (4 * degrees) + (5 * Math.pow(z, 5) + 16 * z * z * z + 3 * z) / (96 * degrees * degrees);
  }

  // b against a, as a fraction of a, with its 95 % half-width: Welch's interval of a ratio by its first-order error.
  function change(a, b) {
    var ratio = b.mean / a.mean, half = null;
    if (a.mean <= 0) { return null; }
    if (a.se !== null && b.se !== null) {
      var u = Math.pow(ratio * a.se / a.mean, 2), v = Math.pow(b.se / a.mean, 2), sum = u + v;
      var degrees = sum > 0 ? sum * sum / (u * u / a.df + v * v / b.df) : a.df + b.df;
      half = t975(degrees) * Math.sqrt(sum);
    }
    return { mean: ratio - 1, half: half };
  }

  // J/token is W times s/token: how much of a difference comes from power and how much from time. The two add up.
  function parts(a, b) {
    if (!a.power || !b.power || !a.speed || !b.speed || !a.token || !b.token) { return null; }
    var ta = 1 / a.speed.mean, tb = 1 / b.speed.mean, pa = a.token.mean / ta, pb = b.token.mean / tb;
    return { power: (pb - pa) * (ta + tb) / 2, time: (pa + pb) / 2 * (tb - ta) };
  }

  // ---- words --------------------------------------------------------------------------------------------------------

  function short(value, digits) {
    var size = Math.abs(value), far = value !== 0 && (size < 1e-3 || size >= 1e6);
    return (far ? value.toExponential(2) : String(Number(value.toPrecision(digits || 3)))).replace("-", "\u2212");
  }

  function pm(value, half) {
    if (half === null || half === undefined) { return short(value); }
    var digits = half > 0 ? Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(half)))) : 2;
    return value.toFixed(digits).replace("-", "\u2212") + " \u00b1 " + half.toFixed(digits);
  }

  function percent(change) { return pm(Math.abs(change.mean) * 100, change.half === null ? null : change.half * 100) + " %"; }

  // Why a ratio of these two would say nothing; empty where it does.
  function barrier(a, b) {
    if (!a.token || !b.token) { return (a.token ? b : a).name.trim() + " has no energy per token: " + ((a.token ? b : a).reason || "no reason is given"); }
    if (a.component !== b.component) { return "one is " + a.component + " energy, the other " + b.component + " energy: different parts of a machine"; }
    if (a.source !== b.source) { return "one is " + a.source + ", the other " + b.source; }
    if (a.within && a.system !== b.system) { return "the maker's model behind these figures says nothing between machines"; }
    return "";
  }

  function verdict(a, b) {
    var why = barrier(a, b), names = "Against A, " + b.letter;
    if (why) { return names + " is not compared: " + why + "."; }
    var found = change(a.token, b.token), how = a.source === "measured" ? "" : " (" + a.source + ")";
    if (!found) { return names + " is not compared: A takes no energy."; }
    var same = found.half !== null && Math.abs(found.mean) <= found.half, sentence;
    if (found.half === null) {
      sentence = names + " takes " + percent(found) + (found.mean < 0 ? " less" : " more") + " energy per token" + how + "; one run has no interval, so this may be chance";
    } else if (same) {
      sentence = names + " is not told apart: the difference is " + pm(found.mean * 100, found.half * 100) + " % of the energy per token" + how;
    } else {
      sentence = names + " takes " + percent(found) + (found.mean < 0 ? " less" : " more") + " energy per token" + how;
    }
    var split = parts(a, b);
    if (split && !same) {
      sentence += "; of the difference, " + short(split.power) + " J/token come from power and " + short(split.time) + " J/token from time";
    }
    if (a.gain !== null && b.gain !== null && a.board !== b.board && (a.gain || b.gain)) {
      sentence += ". On top, the two meters may each be off by " + short(a.gain * 100) + " % and " + short(b.gain * 100) + " %";
      if (!same && found.half !== null && Math.abs(found.mean) - found.half <= a.gain + b.gain) { sentence += ", which is enough to turn it round"; }
    } else if (a.board !== b.board && (a.gain === null || b.gain === null)) {
      sentence += ". By how much the meters themselves may be off is not known";
    }
    if (a.work !== b.work) { sentence += ". The work is not the same: see what differs"; }
    return sentence + ".";
  }

  // ---- page ---------------------------------------------------------------------------------------------------------

  function element(name, text, kind) {
    var made = document.createElement(name);
    if (text !== undefined) { made.textContent = text; }
    if (kind) { made.className = kind; }
    return made;
  }

  function tableOf(caption, heads, rows) {
    var scroll = element("section", undefined, "scroll"), made = element("table", undefined, "plain"), head = element("tr");
    scroll.tabIndex = 0;
    scroll.setAttribute("aria-label", caption);
    heads.forEach(function (text) { var th = element("th", text); th.scope = "col"; head.appendChild(th); });
    made.appendChild(element("caption", caption, "unseen"));
    made.createTHead().appendChild(head);
    var body = made.createTBody();
    rows.forEach(function (cells) {
      var line = body.insertRow();
      cells.forEach(function (cell, place) {
        var made = element(place ? "td" : "th");
        if (!place) { made.scope = "row"; }
        if (cell && cell.nodeType) { made.appendChild(cell); } else { made.textContent = cell; }
        line.appendChild(made);
      });
    });
    scroll.appendChild(made);
    return scroll;
  }

  function show() {
    var rows = chosen.map(function (key) { return byKey.get(key); }).filter(Boolean);
    rows.forEach(function (row, place) { row.letter = String.fromCharCode(65 + place); });
    out.replaceChildren();
    var chips = element("ul", undefined, "chips");
    rows.forEach(function (row) {
      var item = element("li"), link = element("a", row.name.trim()), button = element("button", "Remove");
      item.appendChild(element("strong", row.letter + " "));
      link.href = box.dataset.root + row.page;
      button.type = "button";
      button.setAttribute("aria-label", "Remove " + row.letter + ", " + row.name.trim());
      button.addEventListener("click", function () { select(chosen.filter(function (key) { return key !== row.key; })); });
      item.appendChild(link);
      item.appendChild(button);
      chips.appendChild(item);
    });
    out.appendChild(chips);
    if (rows.length < 2) {
      says.textContent = rows.length ? "Pick a second setting." : "Pick two settings or more, of " + list.length + ".";
      return;
    }
    says.textContent = "";
    var names = [];
    rows.forEach(function (row) { Object.keys(row.facts).forEach(function (name) { if (names.indexOf(name) < 0) { names.push(name); } }); });
    var differing = names.filter(function (name) { return new Set(rows.map(function (row) { return row.facts[name] || ""; })).size > 1; });
    var letters = rows.map(function (row) { return row.letter; });
    out.appendChild(element("h2", differing.length ? "What differs" : "Nothing differs in what was asked for"));
    if (differing.length) {
      out.appendChild(tableOf("What differs", [""].concat(letters), differing.map(function (name) {
        return [name].concat(rows.map(function (row) { return row.facts[name] || "\u2013"; }));
      })));
    }
    out.appendChild(element("h2", "Difference"));
    var words = element("ul", undefined, "findings");
    rows.slice(1).forEach(function (row) { words.appendChild(element("li", verdict(rows[0], row))); });
    out.appendChild(words);
    out.appendChild(element("h2", "Figures"));
    var figures = [["J/token", "token"], ["tokens/s", "speed"], ["J per run", "joules"], ["Implied W", "power"]];
    out.appendChild(tableOf("Figures", [""].concat(letters), figures.map(function (figure) {
      return [figure[0]].concat(rows.map(function (row) {
        var value = row[figure[1]];
        return value ? pm(value.mean, value.half) : "\u2013";
      }));
    }).concat([["Scope"].concat(rows.map(function (row) { return row.component + ", " + row.source + (row.scope ? ", " + row.scope : ""); })),
      ["Gain"].concat(rows.map(function (row) { return row.gain === null ? "not known" : "\u00b1 " + short(row.gain * 100) + " %"; })),
      ["Runs / loads"].concat(rows.map(function (row) { return row.runs + " / " + row.loads; }))])));
    out.appendChild(element("p", "\u00b1 are 95 % intervals; of a difference it is Welch's, over loads where each side has two or more. " +
      "Where the interval holds zero the two are not told apart.", "footnote"));
  }

  function select(keys) {
    chosen = keys.slice(0, 26);
    history.pushState(null, "", location.pathname + location.search + (chosen.length ? "#" + VERSION + ";s=" + chosen.join(",") : ""));
    show();
  }

  function restore() {
    var words = location.hash.slice(1).split(";"), found = words[0] === VERSION && words.find(function (word) { return word.indexOf("s=") === 0; });
    chosen = found ? found.slice(2).split(",").filter(function (key, place, all) { return byKey.has(key) && all.indexOf(key) === place; }) : [];
    show();
  }

  function add() {
    var row = byName.get(pick.value) || byName.get(pick.value.trim());
    if (!row) { says.textContent = "No setting of that name: take one from the list."; return; }
    pick.value = "";
    if (chosen.indexOf(row.key) < 0) { select(chosen.concat(row.key)); }
  }

  box.querySelector("[data-add]").addEventListener("click", add);
  pick.addEventListener("keydown", function (event) { if (event.key === "Enter" && pick.value) { add(); } });
  pick.addEventListener("change", function () { if (byName.has(pick.value)) { add(); } });
  addEventListener("popstate", restore);
  addEventListener("hashchange", restore);
  var script = document.createElement("script");
  script.src = box.dataset.source;
  script.onerror = function () { says.textContent = "The figures could not be loaded."; };
  document.head.appendChild(script);
})();
