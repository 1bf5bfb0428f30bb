"""Every format in miniature: the real shape, with numbers of our own that can be worked out by hand."""

from __future__ import annotations

import json

PYJOULES = """timestamp;tag;duration;nvidia_gpu_0;nvidia_gpu_1
1700000000.0;tokenizer;0.5;30000;31000
1700000000.5;pipeline load;10.0;600000;610000
1700000010.5;inference;8.0;900000;700000
1700000100.0;tokenizer;0.5;30000;31000
1700000100.5;pipeline load;10.0;600000;610000
1700000110.5;inference;10.0;1000000;900000
"""
POWER = """load model,200.0,100.0,400.0,4000,100
load model,200.0,100.0,400.0,4000,100
inference-64-0,200.0,300.0,400.0,2000,10000
inference-64-0,300.0,INVALID,400.0,2000,12000
"""
RUNS = """Timestamp,Phase,Runtime (s),GPU Energy (mJ),Output Token Limit,Number of Input Tokens,Iteration,Model,Number of GPUs,Prompt,Total Number of Tokens,Batch Size,System,CPU Core
1700000000.0,tokenizer,0.3,20000,32,0,0,tiny-7b,1,startup,0,32,argonne-swing,1
1700000000.5,model load,40.0,3000000,32,0,0,tiny-7b,1,startup,0,32,argonne-swing,1
1700000050.0,start-inference-A-0,2.0,300000,32,8,0,tiny-7b,1,"What, is
this?",40,32,argonne-swing,1
1700000060.0,start-inference-A-1,1.0,150000,32,8,1,tiny-7b,1,"What, is
this?",38,32,argonne-swing,1
"""  # noqa: E501 - as the study writes it
EMISSIONS = """timestamp,project_name,run_id,duration,emissions,cpu_energy,gpu_energy,ram_energy,energy_consumed,cpu_model,gpu_model,ram_total_size
2024-01-01T00:00:00,tiny,one,10.0,0.1,0.0001,0.001,0.00001,0.00111,Some CPU,2 x NVIDIA A40,64
2024-01-01T00:00:10,tiny,one,20.0,0.2,0.0002,0.002,0.00002,0.00222,Some CPU,2 x NVIDIA A40,64
2024-01-01T00:00:11,tiny,two,0.002,0.2,0.0002,0.0,0.00002,0.00022,Some CPU,2 x NVIDIA A40,64
"""  # noqa: E501 - one header
CONFIGURATION = {
    "model_id": "org/tiny-8b", "gpu_model": "H100", "num_gpus": 2, "max_num_seqs": 64, "avg_batch_size": 60.0,
    "avg_output_len": 500.0, "energy_per_token_joules": 0.5, "energy_per_request_joules": 250.0,
    "avg_power_watts": 1000.0, "output_throughput_tokens_per_sec": 2000.0, "median_itl_ms": 20.0,
    "tensor_parallel": 2, "weight_precision": "bfloat16", "total_params_billions": 8.0,
}  # fmt: skip
V2 = {
    "Model": "org/tiny", "GPU": "NVIDIA H100 80GB HBM3", "TP": 2, "PP": 2, "Energy/req (J)": 200.0,
    "Avg TPOT (s)": 0.05, "Token tput (tok/s)": 1000.0, "Avg Output Tokens": 400.0, "Avg BS (reqs)": 30.0,
    "Max BS (reqs)": 32,
}  # fmt: skip
REPORT = {
    "load_model": {"energy": {"unit": "kWh", "cpu": 0.0001, "ram": 0.0001, "gpu": 0.001, "total": 0.0012}},
    "prefill": {"energy": {"unit": "kWh", "cpu": 0.001, "ram": None, "gpu": 0.01, "total": 0.011}},
    "decode": {"energy": {"unit": "kWh", "cpu": 0.002, "ram": None, "gpu": 0.03, "total": 0.032},
               "efficiency": {"unit": "tokens/kWh", "value": 1.0}},
}  # fmt: skip
TELEMETRY = {
    "telemetry_data": {
        "summary": {"start_time": "2025-01-01T00:00:00", "end_time": "2025-01-01T00:00:50"},
        "endpoints": {"localhost:9401": {"gpus": {"gpu_0": {"gpu_name": "NVIDIA H100 80GB HBM3", "metrics": {
            "energy_consumption": {"avg": 0.22, "min": 0.2, "max": 0.215, "p10": None, "unit": "MJ"},
            "power_usage": {"avg": 310.0, "unit": "W"}}}}}},
    }
}  # fmt: skip
SPL = (
    "".join(
        f"Time,07-17-2024 07:00:{second:02d}.000,Watts,{watts},Volts,239.2,Amps,3.4,PF,0.96,Mark,x_testing,"
        f"Ch1,Watts,{watts / 2},Volts,239.4,Amps,1.7,PF,0.96,Ch2,Watts,{watts / 2},Volts,239.0,Amps,1.7,PF,0.96\n"
        for second, watts in enumerate((1000.0, 3000.0, 3200.0, 3100.0, 1000.0))
    )
    + "\n"
)
ZEUS = """start_time,window_name,elapsed_time,gpu0_energy,gpu1_energy
100.0,__GlobalPowerLimitOptimizer_250,10.0,2000.0,2100.0
120.0,__GlobalPowerLimitOptimizer_200,12.0,1900.0,2000.0
"""
LEGACY = """model,throughput,response_length,latency,energy
org/old-7b,20.0,200.0,10.5,1500.0
org/new-7b,20.0,100.0,5.5,700.0
"""
SMI = "timestamp, power.draw [W], utilization.gpu [%], utilization.memory [%]\n" + "".join(
    f"2024/04/02 07:36:21.{10 + 100 * poll + gpu:03d}, {100 * (gpu + 1)}.00 W, 0 %, 0 %\n"
    for poll in range(9)
    for gpu in range(3)
)
UPROF = """AMDPROFILER POWER PROFILE REPORT

PROFILE RECORDS
RecordId,Timestamp,socket0-package-power,core0-power,
1,23:59:59:900,  100.00,    5.00,
2,0:0:0:000,  200.00,    5.00,
3,0:0:0:100,  200.00,    5.00,
"""
MAPPING = """
delimiter = ";"
decimal_comma = true
tool = "lab table"
columns = {model = "Model", prompt_tokens = "In", generated_tokens = "Out", load = "Process", repeat = "No"}
values = {system = "lab", accelerator = "NVIDIA A40", devices = 1, batch_size = 1}
energy = [{column = "Energy (mJ)", unit = "mJ", component = "gpu"}]
time = [{column = "t (ms)", unit = "ms"}]
"""
LAB = "Model;In;Out;Process;No;Energy (mJ);t (ms)\ntiny;8;100;a;0;500000,5;2500\ntiny;8;100;a;1;510000;2600\n"
TEXTS = {
    "energy-inference": PYJOULES,
    "codecarbon": EMISSIONS,
    "ml-energy": json.dumps({"task": "chat", "configurations": [CONFIGURATION]}),
    "ml-energy-v2": json.dumps(V2),
    "optimum-benchmark": json.dumps(REPORT),
    "aiperf": json.dumps(TELEMETRY),
    "mlperf-power": SPL,
    "zeus": ZEUS,
}
# A row of each kind of run file that has no header: 32 tokens, on a laptop output alone, on a cluster with 8 of input.
CUDA_ROW = "1700000000.0,start-inference-A-0,2.0,300000,32,8,0,tiny-7b,1,hi,40,32,argonne-swing,1,40960,15000\n"
APPLE_ROW = "inference-A-0,9.0,30.0,64.0,32,8,0,tiny-7b,1,hi,32,32,M1-Pro,16384\n"
