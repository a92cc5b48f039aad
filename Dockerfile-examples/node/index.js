console.log(require("left-pad")("dray", 8, "."));
