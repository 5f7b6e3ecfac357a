"""Our hypergradient methods beside JAXopt, TorchOpt and Optuna, on problems without images.

python -m benchmarks.bilevel.environments --out runs/peers
python -m benchmarks.bilevel --peers runs/peers --out runs/bilevel
"""
